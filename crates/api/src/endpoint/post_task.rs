//! `POST /api/backgroundtasks`: starts a task.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::enqueue::NewTask;
use longhaul_model::store::read::Task;
use longhaul_model::{CreateContext, Entry, ParameterError, State, has_nul};
use serde_json::{Map, Value};

use crate::error::{INVALID_REQUEST, NOT_JSON, PAYLOAD_TOO_LARGE, UNKNOWN_TASK_TYPE};
use crate::negotiation::{json_with, must_accept_json, must_send_json};
use crate::{ApiError, App, EnqueueError, TaskBody};

/// `202` with the body and `Location`, sent after the task is durable.
pub(crate) async fn handle(
    app: web::Data<App>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    must_send_json(&request)?;
    let body = body.map_err(|error| unreadable(&error, app.inner.settings.body_limit))?;
    let (type_name, parameters) = parse(&body)?;
    let entry = app
        .inner
        .registry
        .get(&type_name)
        .map_err(|unknown| ApiError::new(UNKNOWN_TASK_TYPE, format!("{unknown}.")))?;
    let task = start(&app, entry, parameters).await?;
    let body = TaskBody::new(task, entry.info().id_prefix, app.base_url());
    let mut response = HttpResponse::build(StatusCode::ACCEPTED);
    response.insert_header((LOCATION, body.self_url.as_str()));
    Ok(json_with(&mut response, &body))
}

async fn start(app: &App, entry: &Entry, parameters: Value) -> Result<Task, ApiError> {
    let context = CreateContext { pool: app.pool().clone(), resources: app.inner.resources.clone() };
    let progress = entry.create(&parameters, &context).await?;
    let id = app.inner.clock.new_id();
    let info = *entry.info();
    let task = NewTask { id, info, parameters, progress: progress.clone(), created_by: None, run_at: None };
    let accepted_at = app.inner.enqueuer.enqueue(task).await.map_err(|error| match error {
        EnqueueError::Unavailable => {
            ApiError::unavailable("The database does not answer; the task was most likely not stored. Try again.")
        }
        EnqueueError::Refused(_) => ApiError::internal(error),
    })?;
    Ok(Task {
        id,
        type_name: info.name.to_owned(),
        state: State::Queued,
        progress,
        attempt: 0,
        accepted_at,
        finished_at: None,
        result: None,
        error: None,
    })
}

/// Type and parameters of the request, or everything that is wrong with its
/// envelope. Unknown members are refused: a misspelt `Parameters` must not
/// start a task with none.
fn parse(body: &[u8]) -> Result<(String, Value), ApiError> {
    let json: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::new(NOT_JSON, format!("The body could not be read as JSON: {error}.")))?;
    let Value::Object(mut members) = json else {
        return Err(ApiError::new(INVALID_REQUEST, "The body must be an object with Type and Parameters."));
    };
    let mut errors = Vec::new();
    let mut complain = |pointer: &str, message: &str| {
        errors.push(ParameterError { pointer: pointer.to_owned(), message: message.to_owned() });
    };
    let type_name = match members.remove("Type") {
        Some(Value::String(name)) => name,
        Some(_) => {
            complain("/Type", "The name of a task type, as a string, is expected.");
            String::new()
        }
        None => {
            complain("/Type", "This member is required: the name of a task type.");
            String::new()
        }
    };
    let parameters = match members.remove("Parameters") {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(object @ Value::Object(_)) => object,
        Some(_) => {
            complain("/Parameters", "An object is expected.");
            Value::Null
        }
    };
    for name in members.keys() {
        let name: String = name.chars().take(100).collect();
        complain(
            &format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            "Unknown member; the known ones are Type, Parameters.",
        );
    }
    if has_nul(&parameters) {
        complain("/Parameters", "The character U+0000 can't be stored; leave it out.");
    }
    if errors.is_empty() { Ok((type_name, parameters)) } else { Err(ApiError::invalid_request(errors)) }
}

fn unreadable(error: &actix_web::Error, limit: usize) -> ApiError {
    if error.as_response_error().status_code() == StatusCode::PAYLOAD_TOO_LARGE {
        ApiError::new(PAYLOAD_TOO_LARGE, format!("A request body may have {limit} bytes at most."))
    } else {
        ApiError::new(NOT_JSON, "The body did not arrive whole.")
    }
}
