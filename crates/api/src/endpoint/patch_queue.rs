//! `PATCH /api/queues/{name}`: pauses or resumes a queue, changes its limits.

use actix_web::{HttpRequest, HttpResponse, web};
use schemars::JsonSchema;

use super::queues::{QueueBody, one};
use crate::access::permission::EDIT_QUEUES;
use crate::error::{AfterChange, UNKNOWN_QUEUE};
use crate::negotiation::read_json;
use crate::openapi::text;
use crate::{Access, ApiError, App, Caller, Operation};

/// What to change of a queue; members that are left out stay as they are.
#[derive(JsonSchema)]
#[schemars(rename_all = "PascalCase", deny_unknown_fields)]
#[expect(dead_code, reason = "it says the form; `longhaul.change_queue` reads it")]
struct QueueChange {
    /// None of its tasks begins; those that run go on.
    #[schemars(extend("type" = "boolean"))]
    paused: Option<bool>,
    /// Max concurrent: tasks at work at once, over the whole fleet; null for no limit.
    #[schemars(range(min = 0))]
    max_running: Option<i32>,
    /// Max concurrent per key: the same for each key.
    #[schemars(range(min = 0))]
    max_per_key: Option<i32>,
    /// Share fairly between keys: keys take turns.
    #[schemars(extend("type" = "boolean"))]
    fair: Option<bool>,
    /// Start at most so many tasks every `RateSeconds` seconds; both are set, or neither.
    #[schemars(range(min = 1))]
    rate_count: Option<i32>,
    /// From a millisecond to 366 days.
    #[schemars(range(min = 0.001, max = 31_622_400.0))]
    rate_seconds: Option<f64>,
    /// Max waiting: while so many tasks wait in it, requests that would store more are refused
    /// with `queue-full`; null for no limit.
    #[schemars(range(min = 0))]
    max_waiting: Option<i32>,
}

pub(super) fn operation() -> Operation {
    Operation::new("Queues", "changeQueue", "Pauses or resumes a queue, or changes its limits.")
        .notes_itself()
        .needs(Access::Permission(EDIT_QUEUES))
        .description(
            "Takes effect at once, in the whole fleet. Omitted members keep their values; null removes a limit.",
        )
        .path("name", "The queue's name.", text())
        .reads::<QueueChange>()
        .negotiated()
        .answers::<QueueBody>(200, "The changed queue.")
        .problem(UNKNOWN_QUEUE)
}

/// `200` with the queue as it is then.
pub(crate) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    name: web::Path<String>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let settings = read_json(&app, &request, body)?;
    app.change_queue(&caller, &name, settings).await?;
    one(app, name).await.after_change()
}
