//! Instruments of the HTTP API.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::instrument::{BATCH, Histograms, LATENCY, QueueLabel, QueueLabels, counters, histograms, register};
use crate::table::{ACCEPTED, OTHER, REFUSED_BY_QUEUE, REQUEST_SECONDS, STORE_SECONDS, STORED_TASKS};

/// What the HTTP API measures.
pub struct ApiMetrics {
    accepted: Family<TypeLabel, Counter>,
    refused_by: Family<QueueLabel, Counter>,
    queues: QueueLabels,
    requests: Histograms<RequestLabels>,
    store_seconds: Histogram,
    stored_tasks: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

impl ApiMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        Self {
            accepted: counters(registry, ACCEPTED),
            refused_by: counters(registry, REFUSED_BY_QUEUE),
            queues: QueueLabels::default(),
            requests: histograms(registry, REQUEST_SECONDS, || Histogram::new(LATENCY)),
            store_seconds: register(registry, STORE_SECONDS, Histogram::new(LATENCY)),
            stored_tasks: register(registry, STORED_TASKS, Histogram::new(BATCH)),
        }
    }

    /// These tasks, by the names of their types, were stored.
    pub fn accepted(&self, types: impl IntoIterator<Item = &'static str>) {
        let mut types = types.into_iter().peekable();
        while let Some(name) = types.next() {
            let mut count = 1;
            while types.next_if(|next| *next == name).is_some() {
                count += 1;
            }
            self.accepted.get_or_create(&TypeLabel { r#type: name }).inc_by(count);
        }
    }

    /// A request was refused because this queue was full.
    pub fn refused_by(&self, queue: &str) {
        self.refused_by.get_or_create(&self.queues.of(queue)).inc();
    }

    /// A group commit of so many tasks.
    pub fn stored(&self, tasks: usize, took: Duration) {
        self.stored_tasks.observe(tasks as f64);
        self.store_seconds.observe(took.as_secs_f64());
    }

    /// A request was answered. `route` is its pattern, `None` if it has none.
    pub fn answered(&self, method: &str, route: Option<&str>, status: u16, took: Duration) {
        let labels = RequestLabels { method: known(method), route: route.unwrap_or(OTHER).to_owned(), status };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// Clients may invent methods.
fn known(method: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or(OTHER)
}
