//! `POST /api/backgroundtasks`: starts a task.

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::{ParameterError, has_nul};
use serde_json::{Map, Value};

use crate::error::INVALID_REQUEST;
use crate::negotiation::{idempotency_key, must_accept_json, received_json};
use crate::start::accepted_response;
use crate::stream::{Form, begin};
use crate::{ApiError, App, StartTask};

/// `202` with the body and `Location`, sent after the task is durable.
pub(crate) async fn handle(
    app: web::Data<App>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    // What the client must accept depends on what it asks for; whoever takes
    // neither form is told before anything is read.
    let form = Form::asked(&request);
    if form.is_err() {
        must_accept_json(&request)?;
    }
    let Asked { type_name, parameters, stream } = parse(received_json(&app, &request, body)?)?;
    let form = if stream {
        Some(form?)
    } else {
        must_accept_json(&request)?;
        None
    };
    let key = idempotency_key(&request)?;
    let task =
        app.start_task(StartTask { type_name: &type_name, parameters, idempotency_key: key, progress: None }).await?;
    let Some(form) = form else { return Ok(accepted_response(&task)) };
    let mut response = HttpResponse::Accepted();
    response.insert_header((LOCATION, task.self_url.as_str()));
    begin(&app, &mut response, task, form, None)
}

/// What a request asks for.
struct Asked {
    type_name: String,
    parameters: Value,
    /// Answer with a stream of bodies until the task ends.
    stream: bool,
}

const STREAM_PROGRESS: &str = "StreamProgress";

/// Takes `StreamProgress` from where it may stand: beside `Parameters` or among
/// them.
fn take_stream(
    members: &mut Map<String, Value>,
    parameters: &mut Value,
    complain: &mut impl FnMut(&str, &str),
) -> bool {
    let beside = members.remove(STREAM_PROGRESS);
    let among = parameters.as_object_mut().and_then(|parameters| parameters.remove(STREAM_PROGRESS));
    let places = [("/StreamProgress", beside), ("/Parameters/StreamProgress", among)];
    let mut answers = places.into_iter().filter_map(|(pointer, value)| match value? {
        Value::Bool(stream) => Some((pointer, stream)),
        _ => {
            complain(pointer, "true or false is expected.");
            None
        }
    });
    let first = answers.next();
    let second = answers.next();
    drop(answers);
    match (first, second) {
        (Some((_, beside)), Some((pointer, among))) if beside != among => {
            complain(pointer, "StreamProgress stands beside Parameters too, with another value; leave one out.");
            false
        }
        (first, _) => first.is_some_and(|(_, stream)| stream),
    }
}

/// What the request asks for, or everything that is wrong with its
/// envelope. Unknown members are refused: a misspelt `Parameters` must not
/// start a task with none.
fn parse(json: Value) -> Result<Asked, ApiError> {
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
    let mut parameters = match members.remove("Parameters") {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(object @ Value::Object(_)) => object,
        Some(_) => {
            complain("/Parameters", "An object is expected.");
            Value::Null
        }
    };
    let stream = take_stream(&mut members, &mut parameters, &mut complain);
    for name in members.keys() {
        let name: String = name.chars().take(100).collect();
        complain(
            &format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            "Unknown member; the known ones are Type, Parameters, StreamProgress.",
        );
    }
    if has_nul(&parameters) {
        complain("/Parameters", "The character U+0000 can't be stored; leave it out.");
    }
    if errors.is_empty() { Ok(Asked { type_name, parameters, stream }) } else { Err(ApiError::invalid_request(errors)) }
}
