//! `POST /api/schedules`: makes a schedule.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::Holder;
use longhaul_model::store::cron;
use serde_json::json;

use super::body;
use crate::access::permission::EDIT_SCHEDULES;
use crate::error::{AfterChange, SCHEDULE_EXISTS};
use crate::negotiation::{json_with, read_json};
use crate::openapi::NEW_SCHEDULE;
use crate::schedule::{ScheduleBody, ScheduleRequest};
use crate::{Access, ApiError, App, Caller, Operation};

pub(super) fn operation() -> Operation {
    Operation::new("Schedules", "createSchedule", "Creates a schedule, which starts a task repeatedly.")
        .notes_itself()
        .needs(Access::Permission(EDIT_SCHEDULES))
        .description(
            "The request checks the parameters of its task, and the `create` step of the type checks \
            whether the caller may start it. Whether the task is possible at the moment does not matter.",
        )
        .reads_component(NEW_SCHEDULE)
        .prepares_tasks()
        .negotiated()
        .answers::<ScheduleBody>(201, "The schedule.")
        .with_header("Location", "The schedule's address.")
        .problem(SCHEDULE_EXISTS)
}

/// `201` with the body and `Location`; `409` if the name is taken.
pub(super) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    request: HttpRequest,
    body_bytes: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let json = read_json(&app, &request, body_bytes)?;
    let wanted = ScheduleRequest::read(&app.inner.registry, json, None, app.now())?.into_new(&app)?;
    let holder = Holder::Schedule(&wanted.name);
    app.must_be_allowed(&caller, &wanted.type_name, wanted.parameters.clone(), holder).await?;
    let mut transaction = app.pool().begin().await?;
    if !cron::create(&mut *transaction, &wanted).await? {
        return Err(ApiError::new(
            SCHEDULE_EXISTS,
            format!("The schedule {} already exists; use PUT on its address to replace it.", wanted.name),
        ));
    }
    let details = json!({"Type": wanted.type_name, "Cron": wanted.cron});
    caller.note(&mut transaction, "createSchedule", &wanted.name, Some(details)).await?;
    transaction.commit().await?;
    let body = body(&app, &wanted.name).await.after_change()?;
    let mut response = HttpResponse::build(StatusCode::CREATED);
    response.insert_header((LOCATION, body.self_url.as_str()));
    Ok(json_with(&mut response, &body))
}
