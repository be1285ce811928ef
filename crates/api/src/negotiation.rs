//! What forms a client sends and takes.

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use longhaul_model::{FileKind, ParameterError, beyond_64_bits};
use serde::Serialize;
use serde_json::Value;

use crate::error::{BODY_TOO_SLOW, NOT_ACCEPTABLE, NOT_JSON, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE};
use crate::limit::{is_late, is_too_much};
use crate::{ApiError, App};

/// A JSON answer with the contract's content type.
#[must_use]
pub fn json_response(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    json_with(&mut HttpResponse::build(status), body)
}

pub(crate) fn json_with(response: &mut HttpResponseBuilder, body: &impl Serialize) -> HttpResponse {
    match serde_json::to_string(body) {
        Ok(text) => response.insert_header((CONTENT_TYPE, "application/json; charset=utf-8")).body(text),
        Err(error) => actix_web::ResponseError::error_response(&ApiError::internal(error)),
    }
}

/// The JSON value in a request's body, once it is clear that the client takes
/// JSON back. Take the body as `Result<web::Bytes, actix_web::Error>`.
///
/// # Errors
/// 406, 415, 413 (above the configured limit), or 400 when it is not JSON.
pub fn read_json(
    app: &App,
    request: &HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<Value, ApiError> {
    read_json_within(app.inner.settings.body_limit, request, body)
}

/// The same, where another limit than the usual one was configured.
pub(crate) fn read_json_within(
    limit: usize,
    request: &HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<Value, ApiError> {
    must_accept_json(request)?;
    received_json(limit, request, body)
}

/// The same, whatever the client takes back.
pub(crate) fn received_json(
    limit: usize,
    request: &HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<Value, ApiError> {
    must_send_json(request)?;
    let body = body.map_err(|error| unreadable(&error, limit))?;
    parse_json(limit, &body)
}

/// A body of a request as JSON. Objects and arrays may be 127 deep (serde_json's limit),
/// and there may be one value for every ten bytes of the limit: what is read takes many
/// times the memory that it has on the wire. Whole numbers have 64 bits at most: greater ones
/// would be rounded.
///
/// # Errors
/// 400 when it is not JSON, is deeper or more than that, or has such a number.
pub fn parse_json(limit: usize, body: &[u8]) -> Result<Value, ApiError> {
    let most = limit / 10;
    // Every value but the first has a comma, a bracket, a brace or a colon before it.
    let marks = body.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{' | b':')).count();
    let value = serde_json::from_slice(body).map_err(|error| {
        ApiError::new(NOT_JSON, format!("The body could not be read as JSON: {error}.{}", hint(body)))
    })?;
    let invalid = |message| Err(ApiError::invalid_request(vec![ParameterError { pointer: String::new(), message }]));
    if let Some(number) = std::str::from_utf8(body).ok().and_then(beyond_64_bits) {
        let digits: String = number.chars().take(40).collect();
        return invalid(format!(
            "The number {digits} has more than 64 bits and would be rounded; send it as a string."
        ));
    }
    // Texts may have such characters, so the quick count only says that all is well.
    if marks >= most && values(&value) > most {
        return invalid(format!("The body has more than {most} values."));
    }
    Ok(value)
}

/// What a body is that is not JSON, if it is something that people take for it.
fn hint(body: &[u8]) -> String {
    if body.starts_with(b"\xef\xbb\xbf") {
        return " It begins with a byte order mark: send it in UTF-8 without one.".to_owned();
    }
    match FileKind::of(body) {
        FileKind::Json | FileKind::JsonArray | FileKind::Empty | FileKind::Text | FileKind::Binary => String::new(),
        FileKind::Utf16 => " It is text in UTF-16: send it in UTF-8.".to_owned(),
        kind => format!(" It is {kind}."),
    }
}

/// How many values there are, in all depths.
pub(crate) fn values(value: &Value) -> usize {
    1 + match value {
        Value::Array(inner) => inner.iter().map(values).sum(),
        Value::Object(inner) => inner.values().map(values).sum(),
        _ => 0,
    }
}

/// The header `Idempotency-Key`, if there is one: 1 to 255 visible ASCII
/// characters.
///
/// # Errors
/// 400 when it is anything else.
pub fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, ApiError> {
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

/// Why a body did not arrive: 408 when it came too slowly, 413 above `limit` bytes, 503 when
/// too many bytes of other requests are under way, else 400.
#[must_use]
pub fn unreadable(error: &actix_web::Error, limit: usize) -> ApiError {
    if is_late(error) {
        ApiError::new(BODY_TOO_SLOW, "The body came too slowly; nothing was done. Send it again.")
    } else if error.as_response_error().status_code() == StatusCode::PAYLOAD_TOO_LARGE {
        ApiError::new(PAYLOAD_TOO_LARGE, format!("A request body may have at most {limit} bytes."))
    } else if is_too_much(error) {
        ApiError::unavailable("The requests under way are too large to take one more. Nothing was done; try again.")
    } else {
        ApiError::new(NOT_JSON, "The body did not arrive completely.")
    }
}

/// 406 unless the client takes JSON. No `Accept` takes everything; ranges with
/// `q=0` are refusals (RFC 9110, 12.5.1).
///
/// # Errors
/// The 406.
pub fn must_accept_json(request: &HttpRequest) -> Result<(), ApiError> {
    let mut ranges = request
        .headers()
        .get_all(ACCEPT)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .peekable();
    if ranges.peek().is_none() || ranges.any(takes_json) {
        return Ok(());
    }
    Err(ApiError::new(
        NOT_ACCEPTABLE,
        "This address answers only with application/json; send Accept: application/json or no Accept.",
    ))
}

fn takes_json(range: &str) -> bool {
    let (name, quality) = media_range(range);
    quality > 0.0 && ["application/json", "application/*", "*/*"].contains(&name.as_str())
}

/// How much a client wants a media type: by its quality, then by how exactly
/// it named it (RFC 9110, 12.5.1).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct Preference {
    quality: f32,
    /// 0 for `*/*`, 1 for `text/*`, 2 by name.
    exactness: u8,
}

impl Preference {
    pub(crate) const REFUSED: Self = Self { quality: 0.0, exactness: 0 };
}

/// How much the client wants `kind/subtype`; without `Accept`, as much as
/// anything. The range that names it most exactly decides.
pub(crate) fn preference(request: &HttpRequest, kind: &str, subtype: &str) -> Preference {
    let mut values = request.headers().get_all(ACCEPT).filter_map(|value| value.to_str().ok()).peekable();
    if values.peek().is_none() {
        return Preference { quality: 1.0, exactness: 0 };
    }
    let exact = format!("{kind}/{subtype}");
    let names = ["*/*".to_owned(), format!("{kind}/*"), exact];
    let best = values
        .flat_map(|value| value.split(','))
        .filter_map(|range| {
            let (name, quality) = media_range(range);
            let exactness = names.iter().position(|known| *known == name)?;
            Some((u8::try_from(exactness).unwrap_or(0), quality))
        })
        .max_by_key(|(exactness, _)| *exactness);
    match best {
        Some((exactness, quality)) if quality > 0.0 => Preference { quality, exactness },
        _ => Preference::REFUSED,
    }
}

/// Name and quality of one range of an `Accept`.
fn media_range(range: &str) -> (String, f32) {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let quality = parts
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(key, _)| key.trim().eq_ignore_ascii_case("q"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(1.0);
    (name, quality)
}

/// 415 unless the body is declared as JSON in UTF-8.
pub(crate) fn must_send_json(request: &HttpRequest) -> Result<(), ApiError> {
    let declared = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = declared.split(';').map(|part| part.trim().to_ascii_lowercase());
    let name = parts.next().unwrap_or_default();
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some(("charset", charset)) => ["utf-8", "utf8"].contains(&charset.trim_matches('"')),
        _ => true,
    });
    if (name == "application/json" || (name.starts_with("application/") && name.ends_with("+json"))) && utf8 {
        return Ok(());
    }
    Err(ApiError::new(UNSUPPORTED_MEDIA_TYPE, "Send the body as UTF-8 JSON with Content-Type: application/json."))
}

/// 415 if the body is declared as the parts of a form: whoever takes a file as it is would
/// take the marks between the parts for the file's.
///
/// # Errors
/// The 415.
pub fn must_send_bytes(request: &HttpRequest) -> Result<(), ApiError> {
    let declared = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !declared.trim_start().to_ascii_lowercase().starts_with("multipart/") {
        return Ok(());
    }
    Err(ApiError::new(
        UNSUPPORTED_MEDIA_TYPE,
        "Send the file as it is, not as a part of a form; with curl by --data-binary @FILE instead of -F.",
    ))
}

#[cfg(test)]
mod tests {
    use super::{must_accept_json, must_send_json};
    use actix_web::test::TestRequest;

    fn accepts(value: &str) -> bool {
        must_accept_json(&TestRequest::default().insert_header(("accept", value)).to_http_request()).is_ok()
    }

    #[test]
    fn json_and_wildcards_are_taken_and_refusals_respected() {
        assert!(must_accept_json(&TestRequest::default().to_http_request()).is_ok());
        assert!(accepts("application/json"));
        assert!(accepts("text/html, */*;q=0.1"));
        assert!(accepts("Application/*"));
        assert!(!accepts("text/html"));
        assert!(!accepts("application/json;q=0, text/html"));
    }

    #[test]
    fn only_json_in_utf8_is_read() {
        let sends = |value: &str| {
            must_send_json(&TestRequest::default().insert_header(("content-type", value)).to_http_request()).is_ok()
        };
        assert!(sends("application/json"));
        assert!(sends("application/json; charset=utf-8"));
        assert!(sends("application/problem+json;charset=\"UTF-8\""));
        assert!(!sends("text/plain"));
        assert!(!sends("application/json; charset=latin1"));
        assert!(must_send_json(&TestRequest::default().to_http_request()).is_err());
    }
}
