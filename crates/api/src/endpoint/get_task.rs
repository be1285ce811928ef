//! `GET /api/backgroundtask/{id}`: how far a task is.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::split_public_id;
use longhaul_model::store::read::{self, Sight, Task};
use utoipa::openapi::Object;
use uuid::Uuid;

use crate::access::missing;
use crate::access::permission::{MANAGE_TASKS, VIEW_TASKS};
use crate::error::UNKNOWN_TASK;
use crate::negotiation::must_accept_json;
use crate::openapi::text;
use crate::{ApiError, App, Caller, Operation, TaskBody, json_response};

pub(super) fn operation() -> Operation {
    Operation::new("Tasks", "getTask", "How far a task is.")
        .path("id", "The task's `Id`; case does not matter.", public_id())
        .negotiated()
        .answers::<TaskBody>(200, "The task as it is now.")
        .problem(UNKNOWN_TASK)
}

/// The schema of a task's id in an address.
pub(super) fn public_id() -> Object {
    text()
}

/// `200` with the body, `404` if the id is unknown or the task was flushed. The
/// prefix must be that of the task's type; case does not matter.
pub(crate) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    Ok(json_response(StatusCode::OK, &find(&app, &caller, &id).await?.1))
}

/// The guid and the body of the task with this public id, if the caller may see it.
pub(super) async fn find(app: &App, caller: &Caller, id: &str) -> Result<(Uuid, TaskBody), ApiError> {
    let (task, id_prefix) = find_task(app, caller, id).await?;
    Ok((task.id, TaskBody::new(task, id_prefix, app.base_url())))
}

/// The task with this public id, and its type's prefix of ids, if the caller may see it:
/// else it is unknown, as if it were not there.
pub(super) async fn find_task(app: &App, caller: &Caller, id: &str) -> Result<(Task, &'static str), ApiError> {
    look_up(app, caller.sight(&[VIEW_TASKS]), id).await
}

/// The task with this public id, if the caller may cancel it and run it again. Whoever
/// may do so sees what became of it. Who may see it and no more is told so; for others
/// it is unknown.
pub(crate) async fn find_managed(app: &App, caller: &Caller, id: &str) -> Result<(Task, &'static str), ApiError> {
    let (task, id_prefix) = look_up(app, caller.sight(&[VIEW_TASKS, MANAGE_TASKS]), id).await?;
    if caller.manages(task.created_by.as_deref()) { Ok((task, id_prefix)) } else { Err(missing(MANAGE_TASKS)) }
}

/// One statement, whether the task is not there or not in sight, so that not even the
/// time tells which.
async fn look_up(app: &App, sight: Sight<'_>, id: &str) -> Result<(Task, &'static str), ApiError> {
    let (prefix, guid) = split_public_id(id).ok_or_else(|| unknown(id))?;
    let entry = app.inner.registry.by_id_prefix(prefix).ok_or_else(|| unknown(id))?;
    let info = entry.info();
    let task = read::task_in_sight(app.pool(), guid, info.name, sight).await?.ok_or_else(|| unknown(id))?;
    Ok((task, info.id_prefix))
}

pub(crate) fn unknown(id: &str) -> ApiError {
    let id: String = id.chars().take(100).collect();
    ApiError::new(
        UNKNOWN_TASK,
        format!("There is no task {id}: it never was, or it ended and its retention period is over."),
    )
}
