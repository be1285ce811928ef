//! `POST /api/schedules/{name}/pause`: stops a schedule from firing.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::cron;

use super::{body, must_be_name, named, unknown};
use crate::negotiation::must_accept_json;
use crate::schedule::ScheduleBody;
use crate::{ApiError, App, Operation, json_response};

pub(super) fn operation() -> Operation {
    named("pauseSchedule", "Stops a schedule from firing until it is resumed.")
        .negotiated()
        .answers::<ScheduleBody>(200, "The schedule as it is then.")
}

/// `200` with the body; pausing twice changes nothing.
pub(super) async fn handle(
    app: web::Data<App>,
    name: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    must_be_name(&name)?;
    if !cron::pause(app.pool(), &name).await? {
        return Err(unknown(&name));
    }
    Ok(json_response(StatusCode::OK, &body(&app, &name).await?))
}
