//! `GET /api/workers`: who works.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::worker::{Worker, list};
use schemars::JsonSchema;
use serde::Serialize;

use crate::access::permission::VIEW_QUEUES;
use crate::body::{WHOLE_SECONDS, whole_seconds};
use crate::negotiation::must_accept_json;
use crate::{Access, ApiError, App, Operation, json_response};

/// Workers that ended are shown for so long.
const ENDED_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// So many workers at most.
const SHOWN: u32 = 1_000;

/// A worker process.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "Worker")]
struct WorkerBody {
    id: i32,
    name: String,
    /// `alive`, `silent` (its heartbeat is late), `lost` (presumed dead; its tasks have been
    /// rescued) or `stopped`.
    #[schemars(extend("enum" = ["alive", "silent", "lost", "stopped"]))]
    state: String,
    /// The queues it serves.
    queues: Vec<String>,
    /// Its slots.
    slots: i32,
    /// Number of its running tasks.
    running: i64,
    #[schemars(regex(pattern = WHOLE_SECONDS))]
    heartbeat_at: String,
    /// The version of its program.
    version: String,
    #[schemars(regex(pattern = WHOLE_SECONDS))]
    started_at: String,
    /// When it stopped or was presumed dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = WHOLE_SECONDS))]
    ended_at: Option<String>,
}

/// Workers.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "WorkerList")]
struct WorkersBody {
    items: Vec<WorkerBody>,
}

pub(super) fn operation() -> Operation {
    Operation::new("Workers", "listWorkers", "Lists live workers, and workers that ended in the last day.")
        .needs(Access::Permission(VIEW_QUEUES))
        .negotiated()
        .answers::<WorkersBody>(200, "Live workers first, then those that ended last; at most 1,000.")
}

/// `200` with the workers.
pub(super) async fn handle(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let items = list(app.pool(), ENDED_WITHIN, SHOWN).await?.into_iter().map(WorkerBody::from).collect();
    Ok(json_response(StatusCode::OK, &WorkersBody { items }))
}

impl From<Worker> for WorkerBody {
    fn from(worker: Worker) -> Self {
        Self {
            id: worker.id,
            name: worker.name,
            state: worker.state,
            queues: worker.queues,
            slots: worker.slots,
            running: worker.running,
            heartbeat_at: whole_seconds(worker.heartbeat_at),
            version: worker.version,
            started_at: whole_seconds(worker.started_at),
            ended_at: worker.ended_at.map(whole_seconds),
        }
    }
}
