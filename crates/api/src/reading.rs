//! What a request's body says, without doing it: where fuzzers come in.

use chrono::{DateTime, Utc};
use longhaul_model::Registry;

use crate::batch_request::BatchRequest;
use crate::{ApiError, endpoint, parse_json};

/// Reads bytes as `POST /api/backgroundtasks` and `POST /api/backgroundtasks/batch` read
/// their bodies, up to where the database is asked, with bodies up to `limit` bytes.
///
/// # Errors
/// What the API would answer, first of the one, then of the other.
pub fn read_as_request(
    registry: &Registry,
    limit: usize,
    body: &[u8],
    now: DateTime<Utc>,
) -> (Result<(), ApiError>, Result<(), ApiError>) {
    let task = parse_json(limit, body).and_then(|json| endpoint::read_task(registry, json, now));
    let batch = parse_json(limit, body).and_then(|json| BatchRequest::read(registry, json, now).map(|_| ()));
    (task, batch)
}
