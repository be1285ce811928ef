//! Instruments of a worker.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::instrument::{
    BATCH, Histograms, LATENCY, LONG, QueueLabel, QueueLabels, counters, gauges, histograms, register,
};
use crate::table;

/// What a worker measures. Lanes keep [`AttemptsOfType`] and the histograms of their
/// queues, so that a task costs no look-up by labels.
pub struct WorkerMetrics {
    started: Family<TypeLabel, Counter>,
    ended: Family<EndLabels, Counter>,
    run_seconds: Histograms<TypeLabel>,
    wait_seconds: Histograms<QueueLabel>,
    queues: QueueLabels,
    claim_seconds: Histogram,
    claimed_tasks: Histogram,
    finish_seconds: Histogram,
    finished_tasks: Histogram,
    flush_seconds: Histogram,
    flushed_tasks: Histogram,
    service_seconds: Histograms<ServiceLabel>,
    service_failures: Family<ServiceLabel, Counter>,
    service_failing: Family<ServiceLabel, Gauge>,
    running: Gauge,
    slots: Gauge,
    leases_lost: Counter,
    presumed_dead: Counter,
    repaired: Counter,
    database_failures: Counter,
    database_failing: Gauge,
}

/// What became of a task when an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is over, and went well.
    Succeeded,
    /// It is over, and did not.
    Failed,
    /// It is over, as someone asked.
    Cancelled,
    /// The attempt failed; there will be another one.
    Retrying,
    /// The handler asked to be run later.
    Snoozed,
    /// The database interrupted it; it will be made again.
    Interrupted,
    /// Given back by a worker that stops.
    Released,
    /// It waits for its children.
    Waiting,
}

impl End {
    const ALL: [Self; 8] = [
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Retrying,
        Self::Snoozed,
        Self::Interrupted,
        Self::Released,
        Self::Waiting,
    ];

    /// Its name in labels and spans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Retrying => "retrying",
            Self::Snoozed => "snoozed",
            Self::Interrupted => "interrupted",
            Self::Released => "released",
            Self::Waiting => "waiting",
        }
    }
}

/// The instruments of one task type.
pub struct AttemptsOfType {
    /// They began.
    pub started: Counter,
    run_seconds: Histogram,
    ended: [Counter; End::ALL.len()],
}

impl AttemptsOfType {
    /// An attempt ended after this time.
    pub fn ended(&self, end: End, ran: Duration) {
        self.ended[end as usize].inc();
        self.run_seconds.observe(ran.as_secs_f64());
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    r#type: &'static str,
    end: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabel {
    service: &'static str,
}

impl WorkerMetrics {
    pub(crate) fn register(to: &mut Registry) -> Self {
        let latency = || Histogram::new(LATENCY);
        let batch = || Histogram::new(BATCH);
        Self {
            started: counters(to, table::STARTED),
            ended: counters(to, table::ENDED),
            run_seconds: histograms(to, table::RUN_SECONDS, || Histogram::new(LONG)),
            wait_seconds: histograms(to, table::WAIT_SECONDS, || Histogram::new(LONG)),
            queues: QueueLabels::default(),
            claim_seconds: register(to, table::CLAIM_SECONDS, latency()),
            claimed_tasks: register(to, table::CLAIMED_TASKS, batch()),
            finish_seconds: register(to, table::FINISH_SECONDS, latency()),
            finished_tasks: register(to, table::FINISHED_TASKS, batch()),
            flush_seconds: register(to, table::FLUSH_SECONDS, latency()),
            flushed_tasks: register(to, table::FLUSHED_TASKS, batch()),
            service_seconds: histograms(to, table::SERVICE_SECONDS, || Histogram::new(LATENCY)),
            service_failures: counters(to, table::SERVICE_FAILURES),
            service_failing: gauges(to, table::SERVICE_FAILING),
            running: register(to, table::RUNNING, Gauge::default()),
            slots: register(to, table::SLOTS, Gauge::default()),
            leases_lost: register(to, table::LEASES_LOST, Counter::default()),
            presumed_dead: register(to, table::PRESUMED_DEAD, Counter::default()),
            repaired: register(to, table::REPAIRED_TASKS, Counter::default()),
            database_failures: register(to, table::DATABASE_FAILURES, Counter::default()),
            database_failing: register(to, table::DATABASE_FAILING, Gauge::default()),
        }
    }

    /// The instruments of a registered type, to be kept; [`table::OTHER`] for those
    /// that are not registered.
    #[must_use]
    pub fn of_type(&self, name: &'static str) -> AttemptsOfType {
        let label = TypeLabel { r#type: name };
        AttemptsOfType {
            started: self.started.get_or_create_owned(&label),
            run_seconds: self.run_seconds.get_or_create_owned(&label),
            ended: End::ALL.map(|end| self.ended.get_or_create_owned(&EndLabels { r#type: name, end: end.name() })),
        }
    }

    /// The waits in a queue, to be kept. From the hundredth and first queue on, all
    /// share one.
    #[must_use]
    pub fn waits_in(&self, queue: &str) -> Histogram {
        self.wait_seconds.get_or_create_owned(&self.queues.of(queue))
    }

    /// A claim brought so many tasks.
    pub fn claimed(&self, tasks: usize, took: Duration) {
        self.claim_seconds.observe(took.as_secs_f64());
        self.claimed_tasks.observe(tasks as f64);
    }

    /// So many ends were stored at once.
    pub fn finished(&self, ends: usize, took: Duration) {
        self.finish_seconds.observe(took.as_secs_f64());
        self.finished_tasks.observe(ends as f64);
    }

    /// The progress of so many tasks was written at once.
    pub fn flushed(&self, tasks: usize, took: Duration) {
        self.flush_seconds.observe(took.as_secs_f64());
        self.flushed_tasks.observe(tasks as f64);
    }

    /// A run of a maintenance service. Returns how many have failed since the last one that
    /// succeeded.
    pub fn maintained(&self, service: &'static str, took: Duration, failed: bool) -> u32 {
        let label = ServiceLabel { service };
        self.service_seconds.get_or_create(&label).observe(took.as_secs_f64());
        let (failures, failing) =
            (self.service_failures.get_or_create(&label), self.service_failing.get_or_create(&label));
        if failed {
            failures.inc();
            u32::try_from(failing.inc() + 1).unwrap_or(u32::MAX)
        } else {
            failing.set(0);
            0
        }
    }

    /// Attempts that are running.
    #[must_use]
    pub fn running(&self) -> &Gauge {
        &self.running
    }

    /// How many attempts may run at once.
    pub fn set_slots(&self, slots: usize) {
        self.slots.set(i64::try_from(slots).unwrap_or(i64::MAX));
    }

    /// An attempt's outcome was dropped.
    pub fn lease_lost(&self) {
        self.leases_lost.inc();
    }

    /// So many open tasks were in no place, or under a lease that did not hold them, and were
    /// put back: a fault of Longhaul.
    pub fn repaired(&self, tasks: usize) {
        self.repaired.inc_by(tasks as u64);
    }

    /// Others took this worker for dead.
    pub fn presumed_dead(&self) {
        self.presumed_dead.inc();
    }

    /// A claim or the storing of ends failed; `in_a_row`: so often in the lane that has failed
    /// most often since its last success.
    pub fn database_failed(&self, in_a_row: u32) {
        self.database_failures.inc();
        self.database_failing.set(in_a_row.into());
    }

    /// A claim or the storing of ends succeeded in a lane that had failed; `in_a_row` as for
    /// [`Self::database_failed`].
    pub fn database_answered(&self, in_a_row: u32) {
        self.database_failing.set(in_a_row.into());
    }
}
