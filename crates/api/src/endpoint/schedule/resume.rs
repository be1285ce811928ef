//! `POST /api/schedules/{name}/resume`: lets a paused schedule go on.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::cron;

use super::{body, must_be_name, named, unknown};
use crate::negotiation::must_accept_json;
use crate::schedule::ScheduleBody;
use crate::{ApiError, App, Operation, json_response};

pub(super) fn operation() -> Operation {
    named(
        "resumeSchedule",
        "Lets a paused schedule fire at its next due time; what came due meanwhile is not made up for.",
    )
    .negotiated()
    .answers::<ScheduleBody>(200, "The schedule as it is then.")
}

/// `200` with the body; it fires at the next due time. What came due meanwhile
/// is not made up for.
pub(super) async fn handle(
    app: web::Data<App>,
    name: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    must_be_name(&name)?;
    let schedule = cron::schedule(app.pool(), &name).await?.ok_or_else(|| unknown(&name))?;
    if !cron::resume(app.pool(), &name, schedule.next_after(app.now())).await? {
        return Err(unknown(&name));
    }
    Ok(json_response(StatusCode::OK, &body(&app, &name).await?))
}
