//! Cron schedules, one file an endpoint.

mod delete;
mod get;
mod list;
mod pause;
mod post;
mod put;
mod resume;

use actix_web::web::{self, ServiceConfig};
use longhaul_model::store::cron;

use super::refuse;
use crate::error::UNKNOWN_SCHEDULE;
use crate::schedule::{ScheduleBody, is_name};
use crate::{ApiError, App};

pub(super) fn configure(config: &mut ServiceConfig) {
    config.service(
        web::resource("/api/schedules")
            .route(web::get().to(list::handle))
            .route(web::head().to(list::handle))
            .route(web::post().to(post::handle))
            .default_service(web::to(|| refuse("GET, HEAD, POST"))),
    );
    config.service(
        web::resource("/api/schedules/{name}")
            .route(web::get().to(get::handle))
            .route(web::head().to(get::handle))
            .route(web::put().to(put::handle))
            .route(web::delete().to(delete::handle))
            .default_service(web::to(|| refuse("GET, HEAD, PUT, DELETE"))),
    );
    config.service(
        web::resource("/api/schedules/{name}/pause")
            .route(web::post().to(pause::handle))
            .default_service(web::to(|| refuse("POST"))),
    );
    config.service(
        web::resource("/api/schedules/{name}/resume")
            .route(web::post().to(resume::handle))
            .default_service(web::to(|| refuse("POST"))),
    );
}

/// The schedule as it is now, or 404.
async fn body(app: &App, name: &str) -> Result<ScheduleBody, ApiError> {
    must_be_name(name)?;
    let schedule = cron::schedule(app.pool(), name).await?.ok_or_else(|| unknown(name))?;
    Ok(ScheduleBody::new(schedule, app.base_url()))
}

/// 404 for what no schedule can be called; the database might not even take it.
fn must_be_name(name: &str) -> Result<(), ApiError> {
    if is_name(name) { Ok(()) } else { Err(unknown(name)) }
}

fn unknown(name: &str) -> ApiError {
    let name: String = name.chars().take(100).collect();
    ApiError::new(UNKNOWN_SCHEDULE, format!("There is no schedule {name}."))
}
