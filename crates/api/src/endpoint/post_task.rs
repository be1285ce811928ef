//! `POST /api/backgroundtasks`: starts a task.

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::ParameterError;

use crate::error::{TOO_MANY_REQUESTS, UNIQUE_TASK_EXISTS, UNKNOWN_PREREQUISITE};
use crate::negotiation::{idempotency_key, must_accept_json, received_json};
use crate::openapi::TASK_REQUEST;
use crate::start::{Start, accepted_response, must_be_allowed_to_place};
use crate::stream::{Beginning, Form, Standing, begin};
use crate::task_request::{Envelope, StartRequest};
use crate::{ApiError, App, Caller, Operation, TaskBody};

pub(super) fn operation() -> Operation {
    Operation::new("Tasks", "startTask", "Starts a task.")
        .description(
            "The `202` is sent once the task is durable. `500` with the code of a task type means that its `create` \
             step found the task impossible; then nothing is stored.",
        )
        .reads_component(TASK_REQUEST)
        .names_a_type()
        .problem(UNKNOWN_PREREQUISITE)
        .problem(UNIQUE_TASK_EXISTS)
        .problem(TOO_MANY_REQUESTS)
        .starts_tasks(None)
        .idempotent()
        .negotiated()
        .answers::<TaskBody>(202, "The task; with `StreamProgress`, a stream of bodies until the task completes.")
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
    let json = received_json(app.inner.settings.body_limit, &request, body)?;
    let (wanted, stream) = StartRequest::read(&app.inner.registry, json, app.now())?;
    let form = if stream {
        Some(form?)
    } else {
        must_accept_json(&request)?;
        None
    };
    must_be_allowed_to_place(&caller, [&wanted])?;
    let Envelope { run_at, timing, after: named, options } = wanted.envelope;
    let mut after = Vec::with_capacity(named.len());
    let mut errors = Vec::new();
    for (number, one) in named.iter().enumerate() {
        match app.prerequisite(one.task()) {
            Ok(id) => after.push((id, one.if_failed())),
            Err(message) => errors.push(ParameterError { pointer: format!("/After/{number}"), message }),
        }
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid_request(errors));
    }
    let start = Start {
        caller: &caller,
        after,
        parameters: wanted.parameters,
        run_at,
        timing,
        options,
        idempotency_key: idempotency_key(&request)?,
        progress: None,
    };
    let task = app.start(start).await?;
    let Some(form) = form else { return Ok(accepted_response(&app, &task)) };
    let mut response = HttpResponse::Accepted();
    response.insert_header((LOCATION, app.location(&task)));
    let standing = Standing::of(&app, &caller, &request, task.created_by.as_deref())?;
    begin(&app, &mut response, Beginning { body: task, logged: 0, form, seen: None, lines: None, standing })
}
