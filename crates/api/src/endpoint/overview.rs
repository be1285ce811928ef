//! `GET /api/overview`: the queue at a glance.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::aside;
use longhaul_model::store::diagnose::{Counts, counts};
use longhaul_model::store::overview::{Glance, Minute, Overview, last_hour, overview};
use longhaul_model::store::unsuccessful::{Totals, totals};
use schemars::JsonSchema;
use serde::Serialize;

use crate::access::permission::VIEW_QUEUES;
use crate::body::{WHOLE_SECONDS, whole_seconds};
use crate::negotiation::must_accept_json;
use crate::{Access, ApiError, App, Operation, json_response};

/// Overview of the queue. At most 20,000 waiting tasks of a queue are counted.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "Overview")]
struct OverviewBody {
    /// Ready tasks.
    ready: i64,
    /// Tasks held by a limit or a pause.
    held: i64,
    /// Scheduled tasks.
    scheduled: i64,
    /// Running tasks, without those that workers have claimed ahead of their free slots.
    running: i64,
    /// Failed tasks within the retention period; exact.
    failed: i64,
    /// Tasks that failed in the last hour.
    failed_last_hour: i64,
    /// Cancelled tasks within the retention period; exact.
    cancelled: i64,
    /// Succeeded tasks within the retention period, exact; null while that is not known, such as
    /// beside workers of an earlier release.
    succeeded: Option<i64>,
    /// Tasks, queues and schedules that a maintenance service could not process and retries later.
    set_aside: i64,
    /// The waiting time of the oldest ready task; null if none waits.
    oldest_waiting_seconds: Option<f64>,
    /// Workers with a heartbeat in time.
    workers_alive: i64,
    /// Workers whose heartbeat is late, but which are not presumed dead yet.
    workers_silent: i64,
    /// Total slots of live workers.
    slots: i64,
    queues: Vec<QueueGlance>,
    /// The last 60 minutes, oldest first; the last one is incomplete.
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
    /// Tasks that left their queues: started, or cancelled while they waited.
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
    /// Live workers that serve it. If 0, its tasks wait.
    workers: i64,
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
    /// Failed attempts that are retried.
    retried: i64,
    /// Accepted tasks; null until they have been counted.
    accepted: Option<i64>,
    /// Waiting tasks.
    waiting: Option<i64>,
    running: Option<i64>,
    oldest_waiting_seconds: Option<f64>,
}

pub(super) fn operation() -> Operation {
    Operation::new("Workers", "getOverview", "Returns queue depths, the oldest waiting task, and workers.")
        .needs(Access::Permission(VIEW_QUEUES))
        .negotiated()
        .answers::<OverviewBody>(200, "The current state.")
}

/// `200` with the current state.
pub(super) async fn handle(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let pool = app.pool();
    let (now, minutes, counts, totals, aside) =
        tokio::try_join!(overview(pool), last_hour(pool), counts(pool), totals(pool), aside::count(pool))?;
    Ok(json_response(StatusCode::OK, &OverviewBody::new(now, minutes, counts, totals, aside)))
}

impl OverviewBody {
    fn new(overview: Overview, minutes: Vec<Minute>, counts: Counts, totals: Totals, set_aside: i64) -> Self {
        let sum = |of: fn(&Glance) -> i64| overview.queues.iter().map(of).sum();
        Self {
            ready: sum(|queue| queue.ready),
            held: sum(|queue| queue.held),
            scheduled: sum(|queue| queue.scheduled),
            running: sum(|queue| queue.running),
            failed: totals.failed,
            failed_last_hour: totals.failed_last_hour,
            cancelled: totals.cancelled,
            succeeded: totals.succeeded,
            set_aside,
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
            workers: queue.workers,
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
