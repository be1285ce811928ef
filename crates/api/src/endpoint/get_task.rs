//! `GET /api/backgroundtask/{id}`: how far a task is, why it waits, and all else that people
//! see of it.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::detail::{Detail, Failure, detail_in_sight};
use longhaul_model::store::read::{self, Sight, Task};
use longhaul_model::store::why::Reason;
use longhaul_model::{Problem, TaskTypeInfo, split_public_id};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::list_tasks::ListedBody;
use crate::access::missing;
use crate::access::permission::{MANAGE_TASKS, VIEW_TASKS};
use crate::body::{WHOLE_SECONDS, explained, whole_seconds};
use crate::error::UNKNOWN_TASK;
use crate::negotiation::must_accept_json;
use crate::openapi::text;
use crate::{ApiError, App, Caller, Operation, TaskBody, json_response};

/// A task with all that people see of it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "TaskDetail")]
struct DetailBody {
    #[serde(flatten)]
    listed: ListedBody,
    /// Why it waits, the most important reason first; absent unless it waits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waits_because: Vec<Reason>,
    /// Its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    key: Option<String>,
    /// UTC, whole seconds: when its last attempt started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = WHOLE_SECONDS))]
    began_at: Option<String>,
    /// Its parameters; secrets are redacted.
    parameters: Value,
    /// Its checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    checkpoint: Option<Value>,
    /// Failed attempts, the last one first, at most 50.
    failed_attempts: Vec<FailureBody>,
}

/// An attempt that did not succeed.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "FailedAttempt")]
struct FailureBody {
    /// The attempt's number.
    attempt: i16,
    /// The worker that ran it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    worker: Option<String>,
    /// UTC, whole seconds: when it ended.
    #[schemars(regex(pattern = WHOLE_SECONDS))]
    failed_at: String,
    /// Its duration, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    duration_ms: Option<i64>,
    /// Its error: an RFC 9457 problem object.
    #[schemars(with = "Problem")]
    error: Value,
}

pub(super) fn operation() -> Operation {
    Operation::new("Tasks", "getTask", "Returns a task with its progress, its parameters and why it waits.")
        .path("id", "The task's `Id`; case does not matter.", public_id())
        .negotiated()
        .answers::<DetailBody>(200, "The task as it is now.")
        .problem(UNKNOWN_TASK)
}

/// What public ids look like: a prefix and a hyphenated guid, in any case.
pub(super) const PUBLIC_ID: &str = "[^/]*[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}";

/// The schema of a task's id in an address.
pub(super) fn public_id() -> schemars::Schema {
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
    let (guid, info) = named(&app, &id)?;
    let detail = detail_in_sight(app.pool(), guid, info.name, caller.sight(&[VIEW_TASKS])).await?;
    let detail = detail.ok_or_else(|| unknown(&id))?;
    Ok(json_response(StatusCode::OK, &DetailBody::new(detail, app.base_url())))
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
    let (guid, info) = named(app, id)?;
    let task = read::task_in_sight(app.pool(), guid, info.name, sight).await?.ok_or_else(|| unknown(id))?;
    Ok((task, info.id_prefix))
}

/// The guid and the type that a public id names.
fn named<'a>(app: &'a App, id: &str) -> Result<(Uuid, &'a TaskTypeInfo), ApiError> {
    let (prefix, guid) = split_public_id(id).ok_or_else(|| unknown(id))?;
    let entry = app.inner.registry.by_id_prefix(prefix).ok_or_else(|| unknown(id))?;
    Ok((guid, entry.info()))
}

pub(crate) fn unknown(id: &str) -> ApiError {
    let id: String = id.chars().take(100).collect();
    ApiError::new(UNKNOWN_TASK, format!("There is no task {id}. It never existed, or its retention period is over."))
}

impl DetailBody {
    fn new(detail: Detail, base_url: &str) -> Self {
        let Detail { listed, parameters, checkpoint, reasons, failures } = detail;
        Self {
            waits_because: reasons,
            key: listed.more.key.clone(),
            began_at: listed.more.started_at.map(whole_seconds),
            parameters,
            checkpoint,
            failed_attempts: failures.into_iter().map(|failure| FailureBody::new(failure, base_url)).collect(),
            listed: ListedBody::new(listed, base_url),
        }
    }
}

impl FailureBody {
    fn new(failure: Failure, base_url: &str) -> Self {
        Self {
            attempt: failure.attempt,
            worker: failure.worker,
            failed_at: whole_seconds(failure.failed_at),
            duration_ms: failure.duration_ms,
            error: explained(failure.error, base_url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DetailBody;
    use crate::body::OWN;

    #[test]
    fn no_report_of_a_handler_can_replace_a_member() {
        let schema = schemars::schema_for!(DetailBody);
        let mut names: Vec<&str> =
            schema.as_value()["properties"].as_object().expect("properties").keys().map(String::as_str).collect();
        let mut own = OWN.to_vec();
        names.sort_unstable();
        own.sort_unstable();
        assert_eq!(names, own);
    }
}
