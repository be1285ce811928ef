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
    /// Tasks that may run now.
    ready: i64,
    /// Tasks that a limit or a pause holds back.
    held: i64,
    /// Tasks that wait for their time.
    scheduled: i64,
    running: i64,
    paused: bool,
    /// Tasks at once over the whole fleet.
    max_running: Option<i32>,
    /// The same for each key.
    max_per_key: Option<i32>,
    /// Keys take turns.
    fair: bool,
    /// Tasks that may begin in `RateSeconds`.
    rate_count: Option<i32>,
    rate_seconds: Option<f64>,
}

/// Every queue.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "QueueList")]
struct QueuesBody {
    items: Vec<QueueBody>,
}

pub(super) fn list_operation() -> Operation {
    Operation::new("Queues", "listQueues", "Every queue: depth, pause, limits.")
        .needs(Access::Permission(VIEW_QUEUES))
        .answers::<QueuesBody>(200, "All queues that a task type, a worker or a setting names.")
}

pub(super) fn one_operation() -> Operation {
    Operation::new("Queues", "getQueue", "One queue: depth, pause, limits.")
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
            max_running: queue.max_running,
            max_per_key: queue.max_per_key,
            fair: queue.fair,
            rate_count: queue.rate_count,
            rate_seconds: queue.rate_seconds,
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

/// The queue with this name: one that a task type, a worker or a setting names.
pub(super) async fn find(app: &App, name: &str) -> Result<Queue, ApiError> {
    read(app.pool(), Some(name)).await?.pop().ok_or_else(|| {
        let name: String = name.chars().take(100).collect();
        ApiError::new(
            UNKNOWN_QUEUE,
            format!("No task type and no worker knows a queue '{name}'; GET /api/queues lists them."),
        )
    })
}
