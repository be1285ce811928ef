//! Makes instruments of the metrics in [`table`](crate::table).

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric as Registrable, Registry};

use crate::table::{MOST_QUEUES, Metric, OTHER};

/// Histograms that share a name.
pub(crate) type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct QueueLabel {
    queue: String,
}

/// The queues that have series of their own.
#[derive(Default)]
pub(crate) struct QueueLabels {
    queues: Mutex<HashSet<String>>,
}

impl QueueLabels {
    /// From the hundredth and first queue on, all share one.
    pub(crate) fn of(&self, queue: &str) -> QueueLabel {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = if queues.contains(queue) {
            queue
        } else if queues.len() < MOST_QUEUES {
            queues.insert(queue.to_owned());
            queue
        } else {
            OTHER
        };
        QueueLabel { queue: queue.to_owned() }
    }
}

/// Seconds that a statement or a request takes.
pub(crate) const LATENCY: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Seconds that a task waits or runs: up to hours.
pub(crate) const LONG: [f64; 14] =
    [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];
/// How many at once.
pub(crate) const BATCH: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1_000.0, 2_500.0];

pub(crate) fn register<M: Registrable + Clone>(registry: &mut Registry, metric: Metric, instrument: M) -> M {
    registry.register(metric.name, metric.help, instrument.clone());
    instrument
}

pub(crate) fn counters<L>(registry: &mut Registry, metric: Metric) -> Family<L, Counter>
where
    L: EncodeLabelSet + Clone + Eq + std::hash::Hash + Debug + Send + Sync + 'static,
{
    register(registry, metric, Family::default())
}

pub(crate) fn gauges<L>(registry: &mut Registry, metric: Metric) -> Family<L, Gauge>
where
    L: EncodeLabelSet + Clone + Eq + std::hash::Hash + Debug + Send + Sync + 'static,
{
    register(registry, metric, Family::default())
}

pub(crate) fn histograms<L>(registry: &mut Registry, metric: Metric, make: fn() -> Histogram) -> Histograms<L>
where
    L: EncodeLabelSet + Clone + Eq + std::hash::Hash + Debug + Send + Sync + 'static,
{
    register(registry, metric, Family::new_with_constructor(make))
}
