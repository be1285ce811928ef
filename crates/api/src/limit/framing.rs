//! Whether it is clear where a request ends.
//!
//! A proxy in front and this server must see the same end, or a request can be hidden in
//! the body of another one (request smuggling, CWE-444). actix-http refuses a length beside
//! chunks, several lengths and folded headers, but takes chunked bodies whose last lines
//! are malformed. So a chunked request is the last of its connection: nothing that follows
//! it is carried out, whoever is right about where it ends.

use std::cell::Cell;

use actix_web::dev::{Extensions, ServiceRequest};
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_ENCODING, TRANSFER_ENCODING, UPGRADE};

use crate::ApiError;
use crate::error::{AMBIGUOUS_REQUEST, UNSUPPORTED_ENCODING};

/// What is known of a connection; there is one for each.
#[derive(Debug, Default)]
struct Connection {
    /// Its last request has come.
    is_over: Cell<bool>,
}

/// Gives a new connection what [`check`] asks.
pub(crate) fn on_connect(connection: &mut Extensions) {
    connection.insert(Connection::default());
}

/// Whether more requests may follow on the connection of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    More,
    Nothing,
}

/// Says whether this is the last request of its connection, and refuses what follows the
/// last one, and what is no request with an end.
pub(super) fn check(request: &ServiceRequest) -> (Follows, Result<(), ApiError>) {
    let headers = request.headers();
    let connection = request.request().conn_data::<Connection>();
    let was_over = connection.is_some_and(|connection| connection.is_over.get());
    // actix-http gives such requests a body that ends with the connection.
    let endless = request.method() == Method::CONNECT
        || headers.get_all(UPGRADE).any(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"));
    if !was_over && !endless && !headers.contains_key(TRANSFER_ENCODING) {
        return (Follows::More, Ok(()));
    }
    if let Some(connection) = connection {
        connection.is_over.set(true);
    }
    let refusal = if was_over {
        "A chunked request must be the last of its connection. Nothing was done; send this request on another \
         connection."
    } else if endless {
        "This server supports plain HTTP only: no tunnels and no protocol upgrades."
    } else {
        return (Follows::Nothing, Ok(()));
    };
    (Follows::Nothing, Err(ApiError::new(AMBIGUOUS_REQUEST, refusal)))
}

/// Refuses bodies that are compressed: actix-web would inflate them without a limit before
/// it looks at their size.
pub(super) fn must_be_plain(request: &ServiceRequest) -> Result<(), ApiError> {
    let plain = |value: &[u8]| value.trim_ascii().is_empty() || value.trim_ascii().eq_ignore_ascii_case(b"identity");
    let Some(encoding) = request.headers().get_all(CONTENT_ENCODING).find(|value| !plain(value.as_bytes())) else {
        return Ok(());
    };
    let encoding: String = String::from_utf8_lossy(encoding.as_bytes()).chars().take(100).collect();
    // People put there what the characters are in, which is no compression.
    let is_charset =
        ["utf-8", "utf8", "iso-8859-1", "us-ascii"].iter().any(|name| encoding.trim().eq_ignore_ascii_case(name));
    let detail = if is_charset {
        format!(
            "'{encoding}' is not a compression, so it can't be the Content-Encoding: omit it, or send it as the \
             charset of Content-Type."
        )
    } else {
        format!("Send the body uncompressed, without Content-Encoding ('{encoding}').")
    };
    Err(ApiError::new(UNSUPPORTED_ENCODING, detail))
}
