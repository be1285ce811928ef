//! `POST /api/backgroundtasks`: starts a task.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::{ParameterError, has_nul};
use serde_json::{Map, Value};

use crate::error::{INVALID_REQUEST, NOT_JSON, PAYLOAD_TOO_LARGE};
use crate::negotiation::{json_with, must_accept_json, must_send_json};
use crate::{ApiError, App, StartTask};

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
    let key = idempotency_key(&request)?;
    let task =
        app.start_task(StartTask { type_name: &type_name, parameters, idempotency_key: key, progress: None }).await?;
    let mut response = HttpResponse::build(StatusCode::ACCEPTED);
    response.insert_header((LOCATION, task.self_url.as_str()));
    Ok(json_with(&mut response, &task))
}

/// The header `Idempotency-Key`: 1 to 255 visible ASCII characters.
fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, ApiError> {
    let Some(value) = request.headers().get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(key.to_owned()))
        }
        _ => Err(ApiError::invalid_request(vec![ParameterError {
            pointer: "Idempotency-Key".to_owned(),
            message: "1 to 255 visible ASCII characters are expected.".to_owned(),
        }])),
    }
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
