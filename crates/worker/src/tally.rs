//! What one lane counts of its attempts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use longhaul_model::DatabaseClock;
use longhaul_model::store::ClaimedTask;
use longhaul_model::store::finish::Verdict;
use longhaul_telemetry::{AttemptsOfType, End, Histogram, Metrics};

/// The instruments that a lane has used: it looks each up by its labels once.
pub(crate) struct Tally {
    metrics: Metrics,
    clock: Arc<DatabaseClock>,
    by_type: HashMap<&'static str, AttemptsOfType>,
    /// Of the queue that the last task came from.
    waits: Option<(String, Histogram)>,
}

impl Tally {
    pub(crate) fn new(metrics: Metrics, clock: Arc<DatabaseClock>) -> Self {
        Self { metrics, clock, by_type: HashMap::new(), waits: None }
    }

    /// `type_name` is that of the registry.
    pub(crate) fn started(&mut self, type_name: &'static str, task: &ClaimedTask) {
        self.of_type(type_name).started.inc();
        let waited = (self.clock.now_ms() - task.ready_at_ms).max(0);
        let known = self.waits.take().filter(|(queue, _)| *queue == task.queue);
        let (queue, histogram) =
            known.unwrap_or_else(|| (task.queue.clone(), self.metrics.worker().waits_in(&task.queue)));
        histogram.observe(waited as f64 / 1000.0);
        self.waits = Some((queue, histogram));
        self.metrics.worker().running().inc();
    }

    /// `None` if the outcome is dropped.
    pub(crate) fn ended(&mut self, type_name: &'static str, verdict: Option<&Verdict>, ran: Duration) {
        self.metrics.worker().running().dec();
        match verdict {
            Some(verdict) => self.of_type(type_name).ended(end(verdict), ran),
            None => self.metrics.worker().lease_lost(),
        }
    }

    fn of_type(&mut self, name: &'static str) -> &AttemptsOfType {
        self.by_type.entry(name).or_insert_with(|| self.metrics.worker().of_type(name))
    }
}

/// What spans say of an end.
pub(crate) fn end_name(verdict: Option<&Verdict>) -> &'static str {
    verdict.map_or("lost", |verdict| end(verdict).name())
}

fn end(verdict: &Verdict) -> End {
    match verdict {
        Verdict::Succeeded(_) => End::Succeeded,
        Verdict::Failed(..) => End::Failed,
        Verdict::Cancelled => End::Cancelled,
        Verdict::Retry(..) => End::Retrying,
        Verdict::Snooze(_) => End::Snoozed,
        Verdict::Release => End::Released,
        Verdict::AwaitChildren => End::Waiting,
    }
}
