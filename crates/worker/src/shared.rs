//! What the parts of a worker share.

use std::sync::Arc;
use std::time::Duration;

use longhaul_model::{DatabaseClock, Limits};
use longhaul_telemetry::Metrics;
use sqlx::PgPool;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use crate::executor::Executor;
use crate::gates::Gates;
use crate::identity::Identity;
use crate::idle::Idle;
use crate::in_flight::InFlight;
use crate::lane_failures::LaneFailures;
use crate::leases::Leases;
use crate::outcome_counters::OutcomeCounters;

/// What all lanes of a worker share.
pub(crate) struct Shared {
    pub(crate) pool: PgPool,
    pub(crate) identity: Identity,
    pub(crate) executor: Executor,
    pub(crate) in_flight: InFlight,
    /// What this process holds, by lease.
    pub(crate) leases: Arc<Leases>,
    pub(crate) metrics: Metrics,
    pub(crate) lane_failures: LaneFailures,
    pub(crate) clock: Arc<DatabaseClock>,
    /// What was ended since it was last written down.
    pub(crate) outcome_counters: Arc<OutcomeCounters>,
    pub(crate) poll_every: Duration,
    pub(crate) ageing: Option<Duration>,
    /// How much a task may keep.
    pub(crate) limits: Limits,
    /// Held while progress is read from attempts and written: their last words come
    /// after it.
    pub(crate) flushing: Mutex<()>,
    /// No more claims; running tasks may continue.
    pub(crate) stopping: CancellationToken,
    /// Wakes one lane that sleeps and has room, or the next one that does.
    pub(crate) wake: Notify,
    /// Tasks ended that others wait for.
    pub(crate) followed: Notify,
    pub(crate) gates: Gates,
    /// Whether whoever stores tasks has to notify this worker.
    pub(crate) idle: Idle,
}

impl Shared {
    /// Something became ready. One lane looks, since a second one would mostly look in
    /// vain and keep a processor from the first; if it finds all it has room for, it wakes
    /// the next. The one that went to sleep last looks: it and the server's process behind
    /// its connection are still warm (docs/adr/0008-performance-history.md).
    pub(crate) fn wake(&self) {
        self.wake.notify_last();
    }

    /// The worker is another one now.
    pub(crate) fn wake_all(&self) {
        self.wake.notify_waiters();
        self.wake.notify_one();
    }
}
