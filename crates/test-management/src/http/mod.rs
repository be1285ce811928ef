//! Routes that the shipped task types bring along, one file each.

mod agile_run;
mod automated_test_run;
mod external_system;
mod external_system_link;
mod incident;
mod incident_link;
mod result_node;
mod script_assignment;
mod search;
mod start_create_incident;
mod step;
mod ticket_search;
mod upload;

use longhaul_api::record;
use longhaul_api::{Resource, Routes};

/// Adds the routes; for [`longhaul_api::AppBuilder::with_routes`].
pub fn configure(routes: &mut Routes) {
    routes.add(Resource::at("/api/search").get(search::handle, search::operation()));
    routes.add(
        Resource::at("/api/externalsystemlink/{id}/tickets").get(ticket_search::handle, ticket_search::operation()),
    );
    routes.add(
        Resource::at("/api/externalsystemlink/{externalSystemLinkId}/ticket/{ticketId}/link")
            .post(start_create_incident::handle, start_create_incident::operation()),
    );
    upload::add(routes);
    record::add_creatable_and_changeable::<external_system::ExternalSystem>(routes);
    record::add_creatable_and_changeable::<external_system_link::ExternalSystemLink>(routes);
    record::add_creatable::<script_assignment::ScriptAssignment>(routes);
    record::add_creatable::<agile_run::AgileRun>(routes);
    record::add_creatable::<automated_test_run::AutomatedTestRun>(routes);
    record::add::<result_node::ResultNode>(routes);
    record::add_changeable::<incident::Incident>(routes);
    record::add::<incident_link::IncidentLink>(routes);
}
