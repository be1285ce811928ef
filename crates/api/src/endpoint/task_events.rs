//! `GET /api/backgroundtask/{id}/events`: a task's states as they change, until
//! it ends.

use actix_web::{HttpRequest, HttpResponse, web};

use longhaul_model::ParameterError;
use schemars::JsonSchema;
use serde::Deserialize;

use super::LineBody;
use super::get_task::{find_task, public_id};
use crate::error::{TOO_MANY_REQUESTS, UNKNOWN_TASK};
use crate::openapi::{boolean, text};
use crate::stream::{Beginning, Form, Lines, Standing, begin};
use crate::{ApiError, App, Caller, Operation, TaskBody};

/// What a client that lost its connection has seen (WHATWG HTML, 9.2).
const LAST_EVENT_ID: &str = "Last-Event-ID";

#[derive(Deserialize)]
struct Wanted {
    /// Whether to include the lines of the task's log.
    #[serde(default)]
    log: bool,
}

/// A line of newline-delimited JSON: a body, or a line of the log.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "it says the form of what the stream sends")]
enum StreamLine {
    Body(Box<TaskBody>),
    Log(LoggedLine),
}

/// A line of the log among bodies.
#[derive(JsonSchema)]
#[schemars(rename_all = "PascalCase")]
#[expect(dead_code, reason = "it says the form of what the stream sends")]
struct LoggedLine {
    log: LineBody,
}

/// The data of a server-sent event: a body, or a line of the log if it is a `log`
/// event.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "it says the form of what the stream sends")]
enum EventData {
    Body(Box<TaskBody>),
    Log(LineBody),
}

pub(super) fn operation() -> Operation {
    Operation::new("Tasks", "streamTask", "Streams a task's states until it completes.")
        .path("id", "The task's `Id`; case does not matter.", public_id())
        .query("log", "Whether to include the lines of the task's log.", boolean())
        .header(LAST_EVENT_ID, "The last event that the client has seen. The stream continues after it.", text())
        .negotiated()
        .answers_as::<StreamLine>(
            200,
            "application/x-ndjson",
            "One body per line, or one per event; see docs/streaming.md.",
        )
        .answers_as::<EventData>(200, "text/event-stream", "")
        .answers_nothing(204, "The client has seen the final state.")
        .problem(UNKNOWN_TASK)
        .problem(TOO_MANY_REQUESTS)
}

/// `200` with the stream, beginning with the state that the task is in unless
/// `Last-Event-ID` names it; `204` if that is the final one; `404` as for the
/// task itself.
pub(crate) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let form = Form::asked(&request)?;
    let wanted = web::Query::<Wanted>::from_query(request.query_string()).map_err(|_| {
        let message = "true or false is expected.".to_owned();
        ApiError::invalid_request(vec![ParameterError { pointer: "log".to_owned(), message }])
    })?;
    let (task, id_prefix) = find_task(&app, &caller, &id).await?;
    let seen = request.headers().get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let lines = wanted.log.then(|| Lines::after(app.pool().clone(), task.id, seen));
    let logged = task.logged;
    let standing = Standing::of(&app, &caller, &request, task.created_by.as_deref())?;
    let body = TaskBody::new(task, id_prefix, app.base_url());
    begin(&app, &mut HttpResponse::Ok(), Beginning { body, logged, form, seen, lines, standing })
}
