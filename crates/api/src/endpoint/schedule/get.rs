//! `GET /api/schedules/{name}`: a schedule, when it fires next and what it did last.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::{body, named};
use crate::access::permission::VIEW_SCHEDULES;
use crate::negotiation::must_accept_json;
use crate::schedule::ScheduleBody;
use crate::{Access, ApiError, App, Operation, json_response};

pub(super) fn operation() -> Operation {
    named("getSchedule", "Returns a schedule with its next and last firing.")
        .needs(Access::Permission(VIEW_SCHEDULES))
        .negotiated()
        .answers::<ScheduleBody>(200, "The schedule as it is now.")
}

/// `200` with the body, `404` if there is no schedule of that name.
pub(super) async fn handle(
    app: web::Data<App>,
    name: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    Ok(json_response(StatusCode::OK, &body(&app, &name).await?))
}
