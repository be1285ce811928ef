//! `POST /api/schedules/{name}/resume`: lets a paused schedule go on.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::{body, named};
use crate::negotiation::must_accept_json;
use crate::schedule::ScheduleBody;
use crate::{AfterChange, ApiError, App, Caller, Operation, json_response};

pub(super) fn operation() -> Operation {
    named("resumeSchedule", "Resumes a paused schedule at its next due time. Due times during the pause do not fire.")
        .description("As for its creation, the `create` step of its type checks whether the caller may start its task.")
        .prepares_tasks()
        .negotiated()
        .answers::<ScheduleBody>(200, "The changed schedule.")
}

/// `200` with the body; it fires at the next due time. What came due meanwhile
/// is not made up for.
pub(super) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    name: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    app.resume_schedule(&caller, &name).await?;
    Ok(json_response(StatusCode::OK, &body(&app, &name).await.after_change()?))
}
