//! `POST /api/schedules`: makes a schedule.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::cron;

use super::body;
use crate::access::permission::EDIT_SCHEDULES;
use crate::error::SCHEDULE_EXISTS;
use crate::negotiation::{json_with, read_json};
use crate::openapi::NEW_SCHEDULE;
use crate::schedule::ScheduleBody;
use crate::{Access, ApiError, App, Caller, Operation, schedule};

pub(super) fn operation() -> Operation {
    Operation::new("Schedules", "createSchedule", "Makes a schedule, which starts a task again and again.")
        .needs(Access::Permission(EDIT_SCHEDULES))
        .description("The `create` step of the task type is not run, only its parameters are checked.")
        .reads_component(NEW_SCHEDULE)
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
    let wanted = schedule::read(&app, read_json(&app, &request, body_bytes)?, None, app.now())?;
    app.must_be_allowed(&caller, &wanted.type_name, &wanted.parameters).await?;
    if !cron::create(app.pool(), &wanted).await? {
        return Err(ApiError::new(
            SCHEDULE_EXISTS,
            format!("There is a schedule {} already; use PUT on its address to replace it.", wanted.name),
        ));
    }
    let body = body(&app, &wanted.name).await?;
    let mut response = HttpResponse::build(StatusCode::CREATED);
    response.insert_header((LOCATION, body.self_url.as_str()));
    Ok(json_with(&mut response, &body))
}
