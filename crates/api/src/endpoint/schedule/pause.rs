//! `POST /api/schedules/{name}/pause`: stops a schedule from firing.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::{body, named};
use crate::negotiation::must_accept_json;
use crate::schedule::ScheduleBody;
use crate::{AfterChange, ApiError, App, Caller, Operation, json_response};

pub(super) fn operation() -> Operation {
    named("pauseSchedule", "Pauses a schedule.").negotiated().answers::<ScheduleBody>(200, "The changed schedule.")
}

/// `200` with the body; pausing twice changes nothing.
pub(super) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    name: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    app.pause_schedule(&caller, &name).await?;
    Ok(json_response(StatusCode::OK, &body(&app, &name).await.after_change()?))
}
