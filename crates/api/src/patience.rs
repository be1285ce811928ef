//! No request waits for ever: neither for a database that has fallen silent, nor for a
//! handler that hangs.

use std::time::Duration;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use actix_web::middleware::Next;

use crate::ApiError;

/// How long a request may take from its head to the head of its answer; what a stream sends
/// afterwards is not counted.
const ANSWER: Duration = Duration::from_secs(30);
/// What a client that sends a body is granted besides: as if it sent so many bytes a second …
const BYTES_A_SECOND: u64 = 16 * 1024;
/// … and this if it does not say how many it will send.
const UNKNOWN_LENGTH: Duration = Duration::from_secs(600);

/// Answers `503` when a request takes too long. Its connection to the database, if it waits
/// for one, is closed: see [`longhaul_model::connect`].
pub(crate) async fn answer_in_time<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let limit = ANSWER + for_the_body(&request);
    match tokio::time::timeout(limit, next.call(request)).await {
        Ok(answered) => answered,
        Err(_elapsed) => Err(ApiError::unavailable(format!(
            "The request was not answered within {} s, but may still have been carried out. Try again.",
            limit.as_secs()
        ))
        .into()),
    }
}

fn for_the_body(request: &ServiceRequest) -> Duration {
    let headers = request.headers();
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    match length {
        Some(bytes) => Duration::from_secs(u64::div_ceil(bytes, BYTES_A_SECOND)),
        None if headers.contains_key(TRANSFER_ENCODING) => UNKNOWN_LENGTH,
        None => Duration::ZERO,
    }
}
