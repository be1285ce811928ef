//! Routes that the shipped task types bring along, one file each.

mod agile_run;
mod automated_test_run;
mod external_system;
mod external_system_link;
mod incident;
mod incident_link;
mod page;
mod path;
mod record;
mod result_node;
mod script_assignment;
mod search;
mod start_create_incident;
mod step;
mod ticket_search;
mod upload;

use actix_web::web::{self, ServiceConfig};

use self::record::refuse;

/// Adds the routes; for [`longhaul_api::AppBuilder::with_routes`].
pub fn configure(config: &mut ServiceConfig) {
    config.service(
        web::resource("/api/search").route(web::get().to(search::handle)).default_service(web::to(|| refuse("GET"))),
    );
    config.service(
        web::resource("/api/externalsystemlink/{id}/tickets")
            .route(web::get().to(ticket_search::handle))
            .default_service(web::to(|| refuse("GET"))),
    );
    config.service(
        web::resource("/api/externalsystemlink/{externalSystemLinkId}/ticket/{ticketId}/link")
            .route(web::post().to(start_create_incident::handle))
            .default_service(web::to(|| refuse("POST"))),
    );
    upload::configure(config);
    record::configure_creatable::<external_system::ExternalSystem>(config);
    record::configure_creatable::<external_system_link::ExternalSystemLink>(config);
    record::configure_creatable::<script_assignment::ScriptAssignment>(config);
    record::configure_creatable::<agile_run::AgileRun>(config);
    record::configure_creatable::<automated_test_run::AutomatedTestRun>(config);
    record::configure::<result_node::ResultNode>(config);
    record::configure::<incident::Incident>(config);
    record::configure::<incident_link::IncidentLink>(config);
}
