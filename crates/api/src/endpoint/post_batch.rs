//! `POST /api/backgroundtasks/batch`: starts many tasks, or none.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream};
use longhaul_model::store::keyed::enqueue_all;
use longhaul_model::{CreateContext, CreateError, Entry, ParameterError, Progress, escape};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::negotiation::{json_response, read_json_within};
use crate::openapi::BATCH_REQUEST;
use crate::task_request::TaskRequest;
use crate::{ApiError, App, Operation, TaskBody};

/// Tasks in one request at most.
pub(crate) const TASKS_AT_ONCE: usize = 10_000;
/// `create` steps at once; each may use a connection.
const CREATES_AT_ONCE: usize = 4;

/// The bodies of many tasks.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "TaskBatch")]
struct BatchBody {
    /// In the order of the request.
    tasks: Vec<TaskBody>,
}

pub(super) fn operation() -> Operation {
    Operation::new("Tasks", "startTasks", "Starts many tasks, or none.")
        .description(
            "If anything is wrong with any of them, none is stored, and every complaint is listed with its pointer. A \
             task whose unique key another one has is not stored; its place has the body of that one.",
        )
        .reads_component(BATCH_REQUEST)
        .starts_tasks(None)
        .negotiated()
        .answers::<BatchBody>(202, "All tasks are durable.")
}

/// `202` with the bodies in the order of the request, sent after all tasks are
/// durable. If anything is wrong with any of them, none is stored, and every
/// complaint is listed with its pointer. A task whose unique key another one has
/// is not stored; its place has the body of that one.
pub(crate) async fn handle(
    app: web::Data<App>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    if request.headers().contains_key("idempotency-key") {
        // Better than to take it and start everything twice.
        return Err(ApiError::invalid_request(vec![ParameterError {
            pointer: "Idempotency-Key".to_owned(),
            message: "A batch can't have one; leave the header out, or send the tasks one by one.".to_owned(),
        }]));
    }
    let json = read_json_within(app.inner.settings.batch_body_limit, &request, body)?;
    let wanted = parse(&app, json, app.now())?;
    let progress = create_all(&app, &wanted).await?;
    let mut tasks = Vec::with_capacity(wanted.len());
    for ((entry, request), progress) in wanted.into_iter().zip(progress) {
        tasks.push(app.new_task(entry, request.parameters, request.run_at, progress)?);
    }
    let (accepted_at, existing) = enqueue_all(app.pool(), &tasks).await?;
    let mut bodies = Vec::with_capacity(tasks.len());
    for (task, existing) in tasks.into_iter().zip(existing) {
        bodies.push(match existing {
            None => app.accepted(task, accepted_at),
            Some(id) => app.read_task(id).await?,
        });
    }
    Ok(json_response(StatusCode::ACCEPTED, &BatchBody { tasks: bodies }))
}

/// Requests with their types, or everything that is wrong with envelopes, types
/// and parameters.
fn parse(app: &App, json: Value, now: DateTime<Utc>) -> Result<Vec<(&Entry, TaskRequest)>, ApiError> {
    let complaint = |pointer: &str, message: String| ParameterError { pointer: pointer.to_owned(), message };
    let mut errors = Vec::new();
    let mut list = Vec::new();
    match json {
        Value::Object(mut members) => {
            match members.remove("Tasks") {
                Some(Value::Array(tasks)) if (1..=TASKS_AT_ONCE).contains(&tasks.len()) => list = tasks,
                Some(Value::Array(tasks)) => errors.push(complaint(
                    "/Tasks",
                    format!("1 to {TASKS_AT_ONCE} tasks are expected; there are {}.", tasks.len()),
                )),
                Some(_) => errors.push(complaint("/Tasks", "A list of tasks is expected.".to_owned())),
                None => errors.push(complaint("/Tasks", "This member is required: a list of tasks.".to_owned())),
            }
            for name in members.keys() {
                errors.push(complaint(
                    &format!("/{}", escape(name)),
                    "Unknown member; the only one is Tasks.".to_owned(),
                ));
            }
        }
        _ => errors.push(complaint("", "An object with the member Tasks is expected.".to_owned())),
    }
    let mut only_parameters = errors.is_empty();
    let mut wanted = Vec::with_capacity(list.len());
    for (number, json) in list.into_iter().enumerate() {
        let place = format!("/Tasks/{number}");
        let Some(request) = TaskRequest::read(json, &place, now, &mut errors) else {
            only_parameters = false;
            continue;
        };
        match app.inner.registry.get(&request.type_name) {
            Ok(entry) => {
                errors.extend(entry.validate(&request.parameters).into_iter().map(|error| error.below(&place)));
                wanted.push((entry, request));
            }
            Err(unknown) => {
                only_parameters = false;
                errors.push(complaint(&format!("{place}/Type"), format!("{unknown}.")));
            }
        }
    }
    match (errors.is_empty(), only_parameters) {
        (true, _) => Ok(wanted),
        (false, true) => Err(ApiError::invalid_parameters(errors)),
        (false, false) => Err(ApiError::invalid_request(errors)),
    }
}

/// Runs every `create` step. The first refusal that is not about parameters
/// decides the answer's code; all of them are listed.
async fn create_all(app: &App, wanted: &[(&Entry, TaskRequest)]) -> Result<Vec<Progress>, ApiError> {
    let context = &CreateContext { pool: app.pool().clone(), resources: app.inner.resources.clone() };
    let created: Vec<Result<Progress, CreateError>> = stream::iter(wanted)
        .map(|(entry, request)| entry.create(&request.parameters, context))
        .buffered(CREATES_AT_ONCE)
        .collect()
        .await;
    let mut progress = Vec::with_capacity(created.len());
    let mut errors = Vec::new();
    let mut refusal = None;
    for (number, result) in created.into_iter().enumerate() {
        let place = format!("/Tasks/{number}");
        match result {
            Ok(start) => progress.push(start),
            Err(CreateError::Invalid(complaints)) => {
                errors.extend(complaints.into_iter().map(|error| error.below(&place)));
            }
            Err(error @ (CreateError::Unavailable { .. } | CreateError::Internal(_))) => return Err(error.into()),
            Err(error) => {
                errors.push(ParameterError { pointer: place, message: error.to_string() });
                refusal.get_or_insert(error);
            }
        }
    }
    match (refusal, errors.is_empty()) {
        (Some(refusal), _) => Err(ApiError::from(refusal).with_errors(errors)),
        (None, false) => Err(ApiError::invalid_parameters(errors)),
        (None, true) => Ok(progress),
    }
}
