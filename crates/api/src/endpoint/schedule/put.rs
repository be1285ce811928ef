//! `PUT /api/schedules/{name}`: makes or replaces a schedule.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::Holder;
use longhaul_model::store::cron;
use serde_json::json;

use super::body;
use crate::access::permission::EDIT_SCHEDULES;
use crate::negotiation::{json_with, read_json};
use crate::openapi::{NEW_SCHEDULE, text};
use crate::schedule::{ScheduleBody, ScheduleRequest};
use crate::{Access, AfterChange, ApiError, App, Caller, Operation};

pub(super) fn operation() -> Operation {
    Operation::new("Schedules", "putSchedule", "Creates or replaces a schedule.")
        .notes_itself()
        .needs(Access::Permission(EDIT_SCHEDULES))
        .path("name", "The schedule's name; case matters.", text())
        .reads_component(NEW_SCHEDULE)
        .prepares_tasks()
        .negotiated()
        .answers::<ScheduleBody>(200, "It replaced the schedule of that name.")
        .answers::<ScheduleBody>(201, "It was created.")
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
    let json = read_json(&app, &request, body_bytes)?;
    let wanted = ScheduleRequest::read(&app.inner.registry, json, Some(&name), app.now())?.into_new(&app)?;
    let holder = Holder::Schedule(&wanted.name);
    app.must_be_allowed(&caller, &wanted.type_name, wanted.parameters.clone(), holder).await?;
    let mut transaction = app.pool().begin().await?;
    let created = cron::put(&mut *transaction, &wanted).await?;
    let details = json!({"Type": wanted.type_name, "Cron": wanted.cron});
    caller.note(&mut transaction, "putSchedule", &wanted.name, Some(details)).await?;
    transaction.commit().await?;
    let body = body(&app, &wanted.name).await.after_change()?;
    let mut response = HttpResponse::build(if created { StatusCode::CREATED } else { StatusCode::OK });
    if created {
        response.insert_header((LOCATION, body.self_url.as_str()));
    }
    Ok(json_with(&mut response, &body))
}
