//! What waits in the database.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use longhaul_model::store::depth::{self, Depth, QueueDepth};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sqlx::PgPool;
use tokio::sync::Mutex;

use crate::instrument::{gauges, register};
use crate::table;

/// Gauges of the queues, which a scrape refreshes if they are old.
pub(crate) struct Database {
    pool: PgPool,
    next_read: Mutex<Option<Instant>>,
    tasks: Family<TasksLabels, Gauge>,
    oldest: Family<QueueLabel, Gauge<f64, AtomicU64>>,
    paused: Family<QueueLabel, Gauge>,
    unserved: Family<QueueLabel, Gauge>,
    workers: Family<StateLabel, Gauge>,
    /// Without labels; a family, so that it can be absent.
    slots: Family<NoLabels, Gauge>,
    overdue: Family<NoLabels, Gauge<f64, AtomicU64>>,
    abandoned: Family<NoLabels, Gauge>,
    troubles: Family<NoLabels, Gauge>,
    read_seconds: Gauge<f64, AtomicU64>,
    failures: Counter,
}

type NoLabels = [(&'static str, &'static str); 0];

/// The least time between two reads; a slow one is repeated more rarely, so that it
/// takes this share of the time at most.
const EVERY: Duration = Duration::from_secs(5);
const SHARE: u32 = 50;
/// A scrape waits this long at most.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TasksLabels {
    queue: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabel {
    queue: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

impl Database {
    pub(crate) fn register(to: &mut Registry, pool: PgPool) -> Self {
        Self {
            pool,
            next_read: Mutex::default(),
            tasks: gauges(to, table::QUEUE_TASKS),
            oldest: register(to, table::OLDEST_SECONDS, Family::default()),
            paused: gauges(to, table::QUEUE_PAUSED),
            unserved: gauges(to, table::QUEUE_UNSERVED),
            overdue: register(to, table::OVERDUE_SECONDS, Family::default()),
            abandoned: gauges(to, table::ABANDONED),
            troubles: gauges(to, table::TROUBLES),
            workers: gauges(to, table::WORKERS),
            slots: gauges(to, table::FLEET_SLOTS),
            read_seconds: register(to, table::READ_SECONDS, Gauge::default()),
            failures: register(to, table::READ_FAILURES, Counter::default()),
        }
    }

    /// Reads anew if it is time. What can't be read is not shown, so that no old
    /// number looks new.
    pub(crate) async fn refresh(&self) {
        let mut next_read = self.next_read.lock().await;
        let began = Instant::now();
        if next_read.is_some_and(|next| began < next) {
            return;
        }
        let read = tokio::time::timeout(PATIENCE, depth::read(&self.pool)).await;
        let took = began.elapsed();
        *next_read = Some(Instant::now() + EVERY.max(took * SHARE));
        self.read_seconds.set(took.as_secs_f64());
        self.tasks.clear();
        self.oldest.clear();
        self.paused.clear();
        self.unserved.clear();
        self.overdue.clear();
        self.abandoned.clear();
        self.troubles.clear();
        self.workers.clear();
        self.slots.clear();
        match read {
            Ok(Ok(depth)) => self.show(depth),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the metrics of the database could not be read for a scrape");
                self.failures.inc();
            }
            Err(_) => {
                tracing::warn!("the metrics of the database could not be read in time for a scrape");
                self.failures.inc();
            }
        }
    }

    fn show(&self, depth: Depth) {
        for (queue, depth) in capped(depth.queues) {
            let numbers = [
                ("ready", depth.ready),
                ("held", depth.held),
                ("scheduled", depth.scheduled),
                ("running", depth.running),
            ];
            for (state, number) in numbers {
                self.tasks.get_or_create(&TasksLabels { queue: queue.clone(), state }).set(number);
            }
            let label = QueueLabel { queue };
            self.oldest.get_or_create(&label).set(depth.oldest_seconds.unwrap_or(0.0));
            self.paused.get_or_create(&label).set(i64::from(depth.paused));
            self.unserved.get_or_create(&label).set(i64::from(depth.unserved));
        }
        self.workers.get_or_create(&StateLabel { state: "alive" }).set(depth.workers_alive);
        self.workers.get_or_create(&StateLabel { state: "silent" }).set(depth.workers_silent);
        self.slots.get_or_create(&[]).set(depth.slots);
        self.overdue.get_or_create(&[]).set(depth.overdue_seconds);
        self.abandoned.get_or_create(&[]).set(depth.abandoned);
        self.troubles.get_or_create(&[]).set(depth.troubles);
    }
}

/// The first [`table::MOST_QUEUES`] by name, and the sum of the others.
fn capped(queues: Vec<QueueDepth>) -> BTreeMap<String, QueueDepth> {
    let mut shown: BTreeMap<String, QueueDepth> = BTreeMap::new();
    for (number, queue) in queues.into_iter().enumerate() {
        let name = if number < table::MOST_QUEUES { queue.queue.clone() } else { table::OTHER.to_owned() };
        match shown.get_mut(&name) {
            None => {
                shown.insert(name, queue);
            }
            Some(sum) => {
                sum.ready += queue.ready;
                sum.held += queue.held;
                sum.scheduled += queue.scheduled;
                sum.running += queue.running;
                sum.oldest_seconds = match (sum.oldest_seconds, queue.oldest_seconds) {
                    (Some(a), Some(b)) => Some(a.max(b)),
                    (a, b) => a.or(b),
                };
                sum.paused |= queue.paused;
                sum.unserved |= queue.unserved;
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use longhaul_model::store::depth::QueueDepth;

    use super::capped;
    use crate::table::{MOST_QUEUES, OTHER};

    #[test]
    fn however_many_queues_there_are_only_so_many_have_series() {
        let queues = (0..5_000).map(|number| QueueDepth {
            queue: format!("tenant-{number:05}"),
            ready: 2,
            held: 1,
            scheduled: 0,
            running: 0,
            oldest_seconds: Some(f64::from(number)),
            paused: false,
            unserved: false,
        });
        let shown = capped(queues.collect());
        assert_eq!(shown.len(), MOST_QUEUES + 1);
        assert_eq!(shown[OTHER].ready, 2 * (5_000 - MOST_QUEUES as i64));
        assert_eq!(shown[OTHER].oldest_seconds, Some(4_999.0));
    }
}
