//! `GET /api/queues` and `GET /api/queues/{name}`: queues, their depth and limits.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use longhaul_model::store::queue::{Queue, list as read};
use schemars::JsonSchema;
use serde::Serialize;

use crate::access::permission::VIEW_QUEUES;
use crate::error::UNKNOWN_QUEUE;
use crate::openapi::text;
use crate::{Access, ApiError, App, Operation, json_response};

/// A queue: what waits in it, and its limits.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "Queue")]
pub(super) struct QueueBody {
    name: String,
    /// Ready tasks.
    ready: i64,
    /// Tasks held by a limit or a pause.
    held: i64,
    /// Scheduled tasks.
    scheduled: i64,
    /// Running tasks, without those that a worker has claimed ahead of its free slots.
    running: i64,
    /// Live workers that serve it. If 0, its tasks wait.
    workers: i64,
    /// None of its tasks begins; those that run go on.
    paused: bool,
    /// Max concurrent: tasks at work at once, over the whole fleet.
    max_running: Option<i32>,
    /// Max concurrent per key: the same for each key.
    max_per_key: Option<i32>,
    /// Share fairly between keys: keys take turns.
    fair: bool,
    /// Start at most so many tasks every `RateSeconds` seconds.
    rate_count: Option<i32>,
    rate_seconds: Option<f64>,
    /// Max waiting: while so many tasks wait in it, requests that would store more are refused.
    max_waiting: Option<i32>,
}

/// Every queue.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "QueueList")]
struct QueuesBody {
    items: Vec<QueueBody>,
}

pub(super) fn list_operation() -> Operation {
    Operation::new("Queues", "listQueues", "Lists queues with depth, pause and limits.")
        .needs(Access::Permission(VIEW_QUEUES))
        .answers::<QueuesBody>(
            200,
            "All queues that a task type, a worker or a setting names, or that have open tasks.",
        )
}

pub(super) fn one_operation() -> Operation {
    Operation::new("Queues", "getQueue", "Returns a queue with depth, pause and limits.")
        .needs(Access::Permission(VIEW_QUEUES))
        .path("name", "The queue's name.", text())
        .answers::<QueueBody>(200, "The queue as it is now.")
        .problem(UNKNOWN_QUEUE)
}

impl From<Queue> for QueueBody {
    fn from(queue: Queue) -> Self {
        Self {
            paused: queue.paused_at.is_some(),
            name: queue.name,
            ready: queue.ready,
            held: queue.held,
            scheduled: queue.scheduled,
            running: queue.running,
            workers: queue.workers,
            max_running: queue.max_running,
            max_per_key: queue.max_per_key,
            fair: queue.fair,
            rate_count: queue.rate_count,
            rate_seconds: queue.rate_seconds,
            max_waiting: queue.max_waiting,
        }
    }
}

pub(crate) async fn list(app: web::Data<App>) -> Result<HttpResponse, ApiError> {
    let items = read(app.pool(), None).await?.into_iter().map(QueueBody::from).collect();
    Ok(json_response(StatusCode::OK, &QueuesBody { items }))
}

pub(crate) async fn one(app: web::Data<App>, name: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let queue = find(&app, &name).await?;
    Ok(json_response(StatusCode::OK, &QueueBody::from(queue)))
}

/// The queue with this name: one that a task type, a worker or a setting names, or that has
/// open tasks.
pub(crate) async fn find(app: &App, name: &str) -> Result<Queue, ApiError> {
    read(app.pool(), Some(name)).await?.pop().ok_or_else(|| {
        let name: String = name.chars().take(100).collect();
        ApiError::new(UNKNOWN_QUEUE, format!("There is no queue '{name}'; GET /api/queues lists all queues."))
    })
}
