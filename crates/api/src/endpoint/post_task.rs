//! `POST /api/backgroundtasks`: starts a task.

use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::{ParameterError, has_nul};
use serde_json::{Map, Value};

use crate::error::INVALID_REQUEST;
use crate::negotiation::{idempotency_key, read_json};
use crate::start::accepted_response;
use crate::{ApiError, App, StartTask};

/// `202` with the body and `Location`, sent after the task is durable.
pub(crate) async fn handle(
    app: web::Data<App>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let (type_name, parameters) = parse(read_json(&app, &request, body)?)?;
    let key = idempotency_key(&request)?;
    let task =
        app.start_task(StartTask { type_name: &type_name, parameters, idempotency_key: key, progress: None }).await?;
    Ok(accepted_response(&task))
}

/// Type and parameters of the request, or everything that is wrong with its
/// envelope. Unknown members are refused: a misspelt `Parameters` must not
/// start a task with none.
fn parse(json: Value) -> Result<(String, Value), ApiError> {
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
