//! `POST /api/backgroundtasks`: starts a task.

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use longhaul_model::{ParameterError, Registry};
use serde_json::{Map, Value};

use crate::error::{INVALID_REQUEST, UNIQUE_TASK_EXISTS, UNKNOWN_PREREQUISITE, UNKNOWN_TASK_TYPE};
use crate::negotiation::{idempotency_key, must_accept_json, received_json};
use crate::openapi::TASK_REQUEST;
use crate::start::accepted_response;
use crate::stream::{Beginning, Form, begin};
use crate::task_request::TaskRequest;
use crate::{ApiError, App, Caller, Operation, StartTask, TaskBody};

pub(super) fn operation() -> Operation {
    Operation::new("Tasks", "startTask", "Starts a task.")
        .description(
            "The `202` is sent once the task is durable. `500` with the code of a task type means that its `create` step \
             found the job impossible; nothing is stored then.",
        )
        .reads_component(TASK_REQUEST)
        .names_a_type()
        .problem(UNKNOWN_PREREQUISITE)
        .problem(UNIQUE_TASK_EXISTS)
        .starts_tasks(None)
        .idempotent()
        .negotiated()
        .answers::<TaskBody>(202, "The task; with `StreamProgress`, a stream of bodies until it ends.")
        .answers_as::<TaskBody>(202, "application/x-ndjson", "")
        .answers_as::<TaskBody>(202, "text/event-stream", "")
        .with_header("Location", "The task's address.")
}

/// `202` with the body and `Location`, sent after the task is durable.
pub(crate) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    // What the client must accept depends on what it asks for; whoever takes
    // neither form is told before anything is read.
    let form = Form::asked(&request);
    if form.is_err() {
        must_accept_json(&request)?;
    }
    let (wanted, stream) = parse(received_json(app.inner.settings.body_limit, &request, body)?, app.now())?;
    let form = if stream {
        Some(form?)
    } else {
        must_accept_json(&request)?;
        None
    };
    let mut after = Vec::with_capacity(wanted.after.len());
    let mut errors = Vec::new();
    for (number, one) in wanted.after.iter().enumerate() {
        match app.prerequisite(&one.task) {
            Ok(id) => after.push((id, one.if_failed)),
            Err(message) => errors.push(ParameterError { pointer: format!("/After/{number}"), message }),
        }
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid_request(errors));
    }
    let start = StartTask {
        caller: &caller,
        after,
        type_name: &wanted.type_name,
        parameters: wanted.parameters,
        run_at: wanted.run_at,
        timing: wanted.timing,
        idempotency_key: idempotency_key(&request)?,
        progress: None,
    };
    let task = app.start_task(start).await?;
    let Some(form) = form else { return Ok(accepted_response(&task)) };
    let mut response = HttpResponse::Accepted();
    response.insert_header((LOCATION, task.self_url.as_str()));
    begin(&app, &mut response, Beginning { body: task, logged: 0, form, seen: None, lines: None })
}

const STREAM_PROGRESS: &str = "StreamProgress";

/// The request and whether to answer with a stream of bodies until the task ends,
/// or everything that is wrong with its envelope.
fn parse(json: Value, now: DateTime<Utc>) -> Result<(TaskRequest, bool), ApiError> {
    let Value::Object(mut members) = json else {
        return Err(ApiError::new(INVALID_REQUEST, "The body must be an object with Type and Parameters."));
    };
    let mut errors = Vec::new();
    let stream = take_stream(&mut members, &mut errors);
    let wanted = TaskRequest::read(Value::Object(members), "", now, &mut errors);
    match wanted {
        Some(wanted) if errors.is_empty() => Ok((wanted, stream)),
        _ => Err(ApiError::invalid_request(errors)),
    }
}

/// Takes `StreamProgress` from where it may stand: beside `Parameters` or among
/// them.
fn take_stream(members: &mut Map<String, Value>, errors: &mut Vec<ParameterError>) -> bool {
    let beside = members.remove(STREAM_PROGRESS);
    let parameters = members.get_mut("Parameters").and_then(Value::as_object_mut);
    let among = parameters.and_then(|parameters| parameters.remove(STREAM_PROGRESS));
    let mut complain = |pointer: &str, message: &str| {
        errors.push(ParameterError { pointer: pointer.to_owned(), message: message.to_owned() });
    };
    let mut answers = Vec::new();
    for (pointer, value) in [("/StreamProgress", beside), ("/Parameters/StreamProgress", among)] {
        match value {
            None => {}
            Some(Value::Bool(stream)) => answers.push(stream),
            Some(_) => complain(pointer, "true or false is expected."),
        }
    }
    if let [beside, among] = answers[..]
        && beside != among
    {
        let message = "StreamProgress stands beside Parameters too, with another value; leave one out.";
        complain("/Parameters/StreamProgress", message);
    }
    answers.first().copied().unwrap_or(false)
}

/// Reads a request up to where the database is asked.
pub(crate) fn read_task(registry: &Registry, json: Value, now: DateTime<Utc>) -> Result<(), ApiError> {
    let (wanted, _stream) = parse(json, now)?;
    let entry =
        registry.get(&wanted.type_name).map_err(|unknown| ApiError::new(UNKNOWN_TASK_TYPE, format!("{unknown}.")))?;
    match entry.validate(&wanted.parameters) {
        errors if errors.is_empty() => entry.keys(&wanted.parameters).map(|_keys| ()).map_err(ApiError::from),
        errors => Err(ApiError::invalid_parameters(errors)),
    }
}
