//! `GET /api/session`: who one is here.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;

use super::csrf_token;
use crate::access::Caller;
use crate::{Operation, json_response};

/// The caller.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "Session")]
struct SessionBody {
    /// The same for ever.
    subject: String,
    /// For people.
    name: String,
    /// What a page must send as `X-CSRF-Token` with requests that change something; of a
    /// session only.
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf_token: Option<String>,
}

pub(super) fn operation() -> Operation {
    Operation::new("Login", "getSession", "Returns the caller.")
        .without_database()
        .answers::<SessionBody>(200, "The caller.")
}

/// `200` with the caller.
pub(super) async fn handle(caller: Caller, request: HttpRequest) -> HttpResponse {
    let (subject, name) = (caller.subject().to_owned(), caller.name().to_owned());
    let body = SessionBody { subject, name, csrf_token: csrf_token(&request) };
    let mut response = json_response(StatusCode::OK, &body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
