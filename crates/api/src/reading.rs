//! What a request's body says, without doing it: where fuzzers come in.

use chrono::{DateTime, Utc};
use longhaul_model::Registry;

use crate::batch_request::BatchRequest;
use crate::schedule::ScheduleRequest;
use crate::task_request::StartRequest;
use crate::{ApiError, parse_json};

/// Reads bytes as the API reads the bodies of `POST /api/backgroundtasks`, of
/// `POST /api/backgroundtasks/batch` and of `POST /api/schedules`, by the same functions, up to
/// where the database is asked, with bodies up to `limit` bytes.
///
/// # Errors
/// What the API would answer, in this order.
pub fn read_as_request(
    registry: &Registry,
    limit: usize,
    body: &[u8],
    now: DateTime<Utc>,
) -> [Result<(), ApiError>; 3] {
    let json = || parse_json(limit, body);
    [
        json().and_then(|json| StartRequest::read(registry, json, now)).map(drop),
        json().and_then(|json| BatchRequest::read(registry, json, limit, now)).map(drop),
        json().and_then(|json| ScheduleRequest::read(registry, json, None, now)).map(drop),
    ]
}
