//! What one lane counts of its attempts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use longhaul_model::DatabaseClock;
use longhaul_model::store::ClaimedTask;
use longhaul_model::store::finish::AttemptOutcome;
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
    pub(crate) fn ended(&mut self, type_name: &'static str, outcome: Option<&AttemptOutcome>, ran: Duration) {
        self.metrics.worker().running().dec();
        match outcome {
            Some(outcome) => self.of_type(type_name).ended(end(outcome), ran),
            None => self.metrics.worker().lease_lost(),
        }
    }

    fn of_type(&mut self, name: &'static str) -> &AttemptsOfType {
        self.by_type.entry(name).or_insert_with(|| self.metrics.worker().of_type(name))
    }
}

/// What spans say of an end.
pub(crate) fn end_name(outcome: Option<&AttemptOutcome>) -> &'static str {
    outcome.map_or("lost", |outcome| end(outcome).name())
}

fn end(outcome: &AttemptOutcome) -> End {
    match outcome {
        AttemptOutcome::Succeeded(_) => End::Succeeded,
        AttemptOutcome::Failed(..) => End::Failed,
        AttemptOutcome::Cancelled => End::Cancelled,
        AttemptOutcome::Retry(..) => End::Retrying,
        AttemptOutcome::Snooze(_) => End::Snoozed,
        AttemptOutcome::Interrupted(_) => End::Interrupted,
        AttemptOutcome::Release => End::Released,
        AttemptOutcome::AwaitChildren => End::Waiting,
    }
}
