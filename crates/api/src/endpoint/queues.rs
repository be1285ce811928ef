//! `GET /api/queues` and `GET /api/queues/{name}`: queues, their depth and limits.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use longhaul_model::store::queue::{Queue, list as read};
use serde::Serialize;
use serde_json::json;

use crate::error::UNKNOWN_QUEUE;
use crate::{ApiError, App, json_response};

/// A queue as the wire shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct QueueBody {
    name: String,
    ready: i64,
    held: i64,
    scheduled: i64,
    running: i64,
    paused: bool,
    max_running: Option<i32>,
    max_per_key: Option<i32>,
    fair: bool,
    rate_count: Option<i32>,
    rate_seconds: Option<f64>,
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
    let queues: Vec<QueueBody> = read(app.pool(), None).await?.into_iter().map(QueueBody::from).collect();
    Ok(json_response(StatusCode::OK, &json!({"Items": queues})))
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
