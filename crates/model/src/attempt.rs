//! One attempt at a task, as the worker and the handler share it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::context::MixedCheckpoints;
use crate::progress::{Progress, cut, even_fraction};
use crate::store::progress::ProgressWrite;
use crate::store::{ClaimedTask, LeaseKey};
use crate::{Plan, PublicId};

/// One attempt at a task. The handler writes its progress here, in memory; the
/// worker's flusher reads it.
#[derive(Debug)]
pub struct Attempt {
    lease: LeaseKey,
    id: Uuid,
    public_id: String,
    number: u16,
    began: Instant,
    cancellation: CancellationToken,
    live: Mutex<Live>,
}

#[derive(Debug)]
struct Live {
    progress: Progress,
    /// Weighted by the handler: the fraction no longer follows the elements.
    weighted: bool,
    checkpoint: Option<serde_json::Value>,
    style: Option<CheckpointStyle>,
    changed: bool,
    stop: Option<StopReason>,
}

/// Why an attempt was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Someone cancelled the task.
    Cancelled,
    /// The worker stops; the task goes back to the queue.
    WorkerStops,
    /// The worker has lost the task to another one; its outcome is dropped.
    LeaseLost,
}

/// The two ways to save checkpoints, see [`crate::RunContext`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckpointStyle {
    Flushed,
    InTransaction,
}

impl Attempt {
    /// The attempt that begins now with a claimed task.
    #[must_use]
    pub fn begin(task: &ClaimedTask, id_prefix: &'static str, cancellation: CancellationToken) -> Self {
        // A later attempt without a checkpoint starts over; with one it goes on
        // from where the earlier one was.
        let starts_over = task.attempt > 1 && task.checkpoint.is_none();
        let progress = if starts_over { Progress::unknown() } else { task.progress.clone() };
        Self {
            lease: task.lease,
            id: task.id,
            public_id: PublicId::new(id_prefix, task.id).to_string(),
            number: task.attempt,
            began: Instant::now(),
            cancellation,
            live: Mutex::new(Live {
                progress,
                weighted: false,
                checkpoint: None,
                style: None,
                // Its start is worth a write: it shows who runs it since when.
                changed: true,
                stop: None,
            }),
        }
    }

    /// The lease it runs under.
    #[must_use]
    pub fn lease(&self) -> LeaseKey {
        self.lease
    }

    /// The task's guid.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The task's id as clients see it.
    #[must_use]
    pub fn public_id(&self) -> &str {
        &self.public_id
    }

    /// 1 is the first attempt.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// How long it has run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// See [`crate::RunContext::cancellation`].
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }

    /// Reports progress.
    #[must_use]
    pub fn progress(&self) -> ProgressHandle<'_> {
        ProgressHandle { attempt: self }
    }

    /// The state to write now.
    #[must_use]
    pub fn snapshot(&self) -> ProgressWrite {
        let live = self.live();
        ProgressWrite {
            id: self.id,
            lease_number: self.lease.number,
            attempt: self.number,
            elapsed: self.began.elapsed(),
            progress: live.progress.clone(),
            checkpoint: live.checkpoint.clone(),
        }
    }

    /// For the flusher: what has changed since the last call, if anything.
    #[must_use]
    pub fn take_changes(&self) -> Option<ProgressWrite> {
        if !std::mem::take(&mut self.live().changed) {
            return None;
        }
        Some(self.snapshot())
    }

    /// For the flusher: the write failed, so it is still to be done.
    pub fn mark_changed(&self) {
        self.live().changed = true;
    }

    /// Asks the handler to stop. The first reason stays, except that a lost
    /// lease outdoes every other one.
    pub fn stop(&self, reason: StopReason) {
        let mut live = self.live();
        if live.stop.is_none() || reason == StopReason::LeaseLost {
            live.stop = Some(reason);
        }
        drop(live);
        self.cancellation.cancel();
    }

    /// Why the handler was asked to stop, if it was.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.live().stop
    }

    pub(crate) fn set_checkpoint(&self, checkpoint: serde_json::Value) {
        let mut live = self.live();
        live.checkpoint = Some(checkpoint);
        live.changed = true;
    }

    pub(crate) fn use_checkpoints(&self, style: CheckpointStyle) -> Result<(), MixedCheckpoints> {
        let used = *self.live().style.get_or_insert(style);
        if used == style { Ok(()) } else { Err(MixedCheckpoints) }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        // A panic while the lock is held can't leave it half-written: every
        // section only assigns.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets an attempt's progress. Every call is cheap and in memory.
#[derive(Debug, Clone, Copy)]
pub struct ProgressHandle<'a> {
    attempt: &'a Attempt,
}

impl ProgressHandle<'_> {
    /// How many elements there are in all.
    pub fn set_total(self, total: i64) {
        self.change(|progress| progress.total = total.max(0));
    }

    /// How many are done; more than the total counts as the total.
    pub fn set_processed(self, processed: i64) {
        self.change(|progress| progress.processed = processed);
    }

    /// That many more are done.
    pub fn advance(self, by: i64) {
        self.change(|progress| progress.processed += by);
    }

    /// What is being done now, in words.
    pub fn set_message(self, message: impl Into<String>) {
        let message = cut(message.into());
        self.change(|progress| progress.message = Some(message));
    }

    /// The first `done` steps of a plan are over: sets elements, fraction and
    /// message at once.
    pub fn set_step(self, plan: &Plan, done: usize) {
        let next = plan.after(done);
        let mut live = self.attempt.live();
        live.weighted = true;
        let fraction = next.fraction.max(live.progress.fraction);
        live.progress = Progress { fraction, ..next };
        live.changed = true;
    }

    /// What has been reported so far.
    #[must_use]
    pub fn get(self) -> Progress {
        self.attempt.live().progress.clone()
    }

    fn change(self, change: impl FnOnce(&mut Progress)) {
        let mut live = self.attempt.live();
        change(&mut live.progress);
        let Progress { total, processed, fraction, .. } = live.progress;
        live.progress.processed = processed.clamp(0, total);
        if !live.weighted {
            // Never falls within one attempt (contract, "The task body").
            live.progress.fraction = even_fraction(live.progress.processed, total).max(fraction);
        }
        live.changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::Attempt;
    use crate::store::{ClaimedTask, LeaseKey};
    use crate::{Plan, Progress, Step};
    use tokio_util::sync::CancellationToken;

    fn attempt() -> Attempt {
        let task = ClaimedTask {
            lease: LeaseKey { worker_id: 1, number: 1 },
            id: uuid::Uuid::nil(),
            type_name: "T".to_owned(),
            attempt: 1,
            max_attempts: 1,
            crashes: 0,
            parameters: serde_json::Value::Null,
            checkpoint: None,
            progress: Progress::unknown(),
        };
        Attempt::begin(&task, "t-", CancellationToken::new())
    }

    #[test]
    fn the_fraction_never_falls_within_an_attempt() {
        let attempt = attempt();
        attempt.progress().set_total(10);
        attempt.progress().set_processed(5);
        attempt.progress().set_total(100);
        assert_eq!(attempt.progress().get().fraction, 0.5);
        attempt.progress().set_processed(60);
        assert_eq!(attempt.progress().get().fraction, 0.6);
    }

    #[test]
    fn weighted_steps_set_the_fraction_themselves() {
        const PLAN: Plan = Plan::new(&[Step { name: "a", weight: 34 }, Step { name: "b", weight: 66 }]);
        let attempt = attempt();
        attempt.progress().set_step(&PLAN, 1);
        attempt.progress().set_message("half way");
        let progress = attempt.progress().get();
        assert_eq!((progress.processed, progress.total, progress.fraction), (1, 2, 0.34));
        assert_eq!(progress.message.as_deref(), Some("half way"));
    }

    #[test]
    fn changes_are_taken_once() {
        let attempt = attempt();
        assert!(attempt.take_changes().is_some(), "its start");
        assert!(attempt.take_changes().is_none());
        attempt.progress().set_message("x");
        assert!(attempt.take_changes().is_some());
    }
}
