//! `GET /api/overview`: the queue at a glance.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::diagnose::{Counts, counts};
use longhaul_model::store::overview::{Glance, Minute, Overview, last_hour, overview};
use schemars::JsonSchema;
use serde::Serialize;

use crate::access::permission::VIEW_QUEUES;
use crate::body::{WHOLE_SECONDS, whole_seconds};
use crate::negotiation::must_accept_json;
use crate::{Access, ApiError, App, Operation, json_response};

/// The queue at a glance. Of very many waiting tasks of a queue, 20,000 are counted.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "Overview")]
struct OverviewBody {
    /// Tasks that may run now.
    ready: i64,
    /// Tasks that a limit or a pause holds back.
    held: i64,
    /// Tasks that wait for their time.
    scheduled: i64,
    running: i64,
    /// For how long the oldest task that could run has waited; null if none waits.
    oldest_waiting_seconds: Option<f64>,
    /// Workers whose heartbeat is on time.
    workers_alive: i64,
    /// Workers whose heartbeat is late, and who are not presumed dead yet.
    workers_silent: i64,
    /// Tasks that the workers alive can run at once.
    slots: i64,
    queues: Vec<QueueGlance>,
    /// The last 60 minutes, oldest first; the last one is not over.
    minutes: Vec<MinuteBody>,
    counts: CountsBody,
}

/// How much has come about since the database's statistics were reset; about a second
/// old. What two readings differ by is the rate.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "Counts")]
struct CountsBody {
    /// Tasks stored.
    stored: i64,
    /// Tasks taken out of their queues: begun, or cancelled while they waited.
    begun: i64,
    /// Attempts that failed.
    failed_attempts: i64,
}

/// A queue at a glance.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
struct QueueGlance {
    name: String,
    paused: bool,
    ready: i64,
    held: i64,
    scheduled: i64,
    running: i64,
    oldest_waiting_seconds: Option<f64>,
}

/// What happened in a minute, and how things stood at its end. Workers write down what
/// they end every two seconds; the rest is sampled once a minute.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "OverviewMinute")]
struct MinuteBody {
    #[schemars(regex(pattern = WHOLE_SECONDS))]
    at: String,
    succeeded: i64,
    failed: i64,
    cancelled: i64,
    /// Attempts that failed and are tried again.
    retried: i64,
    /// Tasks that were accepted; null until they were counted.
    accepted: Option<i64>,
    /// Tasks that waited.
    waiting: Option<i64>,
    running: Option<i64>,
    oldest_waiting_seconds: Option<f64>,
}

pub(super) fn operation() -> Operation {
    Operation::new("Workers", "getOverview", "The queue at a glance: depths, the oldest waiting task, workers.")
        .needs(Access::Permission(VIEW_QUEUES))
        .negotiated()
        .answers::<OverviewBody>(200, "How things stand now.")
}

/// `200` with how things stand.
pub(super) async fn handle(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let (now, minutes, counts) = tokio::try_join!(overview(app.pool()), last_hour(app.pool()), counts(app.pool()))?;
    Ok(json_response(StatusCode::OK, &OverviewBody::new(now, minutes, counts)))
}

impl OverviewBody {
    fn new(overview: Overview, minutes: Vec<Minute>, counts: Counts) -> Self {
        let sum = |of: fn(&Glance) -> i64| overview.queues.iter().map(of).sum();
        Self {
            ready: sum(|queue| queue.ready),
            held: sum(|queue| queue.held),
            scheduled: sum(|queue| queue.scheduled),
            running: sum(|queue| queue.running),
            oldest_waiting_seconds: overview.queues.iter().filter_map(|queue| queue.oldest_waiting).reduce(f64::max),
            workers_alive: overview.workers.alive,
            workers_silent: overview.workers.silent,
            slots: overview.workers.slots,
            queues: overview.queues.into_iter().map(QueueGlance::from).collect(),
            minutes: minutes.into_iter().map(MinuteBody::from).collect(),
            counts: CountsBody { stored: counts.stored, begun: counts.begun, failed_attempts: counts.failed_attempts },
        }
    }
}

impl From<Glance> for QueueGlance {
    fn from(queue: Glance) -> Self {
        Self {
            name: queue.name,
            paused: queue.paused,
            ready: queue.ready,
            held: queue.held,
            scheduled: queue.scheduled,
            running: queue.running,
            oldest_waiting_seconds: queue.oldest_waiting,
        }
    }
}

impl From<Minute> for MinuteBody {
    fn from(minute: Minute) -> Self {
        Self {
            at: whole_seconds(minute.at),
            succeeded: minute.succeeded,
            failed: minute.failed,
            cancelled: minute.cancelled,
            retried: minute.retried,
            accepted: minute.accepted,
            waiting: minute.waiting,
            running: minute.running,
            oldest_waiting_seconds: minute.oldest_waiting,
        }
    }
}
