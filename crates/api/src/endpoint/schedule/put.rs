//! `PUT /api/schedules/{name}`: makes or replaces a schedule.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::cron;

use super::body;
use crate::access::permission::EDIT_SCHEDULES;
use crate::negotiation::{json_with, read_json};
use crate::openapi::{NEW_SCHEDULE, text};
use crate::schedule::ScheduleBody;
use crate::{Access, ApiError, App, Caller, Operation, schedule};

pub(super) fn operation() -> Operation {
    Operation::new("Schedules", "putSchedule", "Makes or replaces a schedule.")
        .needs(Access::Permission(EDIT_SCHEDULES))
        .path("name", "The schedule's name; case matters.", text())
        .reads_component(NEW_SCHEDULE)
        .negotiated()
        .answers::<ScheduleBody>(200, "It replaced the one of that name.")
        .answers::<ScheduleBody>(201, "There was none of that name.")
        .with_header("Location", "The schedule's address.")
}

/// `201` if there was none of that name, else `200`; repeating it changes
/// nothing. What was not fired yet by the old expression never will be.
pub(super) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    name: web::Path<String>,
    request: HttpRequest,
    body_bytes: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let wanted = schedule::read(&app, read_json(&app, &request, body_bytes)?, Some(&name), app.now())?;
    app.must_be_allowed(&caller, &wanted.type_name, &wanted.parameters).await?;
    let created = cron::put(app.pool(), &wanted).await?;
    let body = body(&app, &wanted.name).await?;
    let mut response = HttpResponse::build(if created { StatusCode::CREATED } else { StatusCode::OK });
    if created {
        response.insert_header((LOCATION, body.self_url.as_str()));
    }
    Ok(json_with(&mut response, &body))
}
