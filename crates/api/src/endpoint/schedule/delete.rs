//! `DELETE /api/schedules/{name}`: removes a schedule.

use actix_web::{HttpResponse, web};
use longhaul_model::store::cron;

use super::{must_be_name, named, unknown};
use crate::{ApiError, App, Operation};

pub(super) fn operation() -> Operation {
    named("deleteSchedule", "Removes a schedule; its tasks stay.").answers_nothing(204, "It is gone.")
}

/// `204`; its tasks stay. `404` if there is no schedule of that name.
pub(super) async fn handle(app: web::Data<App>, name: web::Path<String>) -> Result<HttpResponse, ApiError> {
    must_be_name(&name)?;
    if cron::delete(app.pool(), &name).await? { Ok(HttpResponse::NoContent().finish()) } else { Err(unknown(&name)) }
}
