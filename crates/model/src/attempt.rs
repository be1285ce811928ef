//! One attempt, shared by the worker and the handler.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::checkpoint_style::{CheckpointStyle, MixedCheckpoints};
use crate::log::{LogBuffer, LogHandle, LogLevel};
use crate::progress::{Progress, even_fraction};
use crate::secret::Hidden;
use crate::steps::Steps;
use crate::store::progress::{Details, ProgressWrite};
use crate::store::{ClaimedTask, LeaseKey};
use crate::time_left::Forecast;
use crate::{Limits, Problem, PublicId};

/// One attempt at a task. The handler writes its progress here, in memory; the
/// worker's flusher reads it.
#[derive(Debug)]
pub struct Attempt {
    lease: LeaseKey,
    id: Uuid,
    id_prefix: &'static str,
    /// Made when it is asked for: most attempts are over before.
    public_id: OnceLock<String>,
    number: u16,
    began: Instant,
    cancellation: CancellationToken,
    limits: Limits,
    /// Secret parameters.
    hidden: OnceLock<Hidden>,
    live: Mutex<Live>,
}

#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) progress: Progress,
    /// The handler counts elements of the task; else they follow its steps.
    pub(crate) counts: bool,
    pub(crate) steps: Steps,
    /// The fraction as the handler's last words have it, which may have fallen;
    /// `None` until it has said anything.
    reported: Option<f64>,
    forecast: Forecast,
    log: LogBuffer,
    checkpoint: Option<serde_json::Value>,
    style: Option<CheckpointStyle>,
    changed: bool,
    stop: Option<StopReason>,
    /// The database refuses what the attempt has to say.
    refused: Option<Problem>,
}

/// Why an attempt was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Someone cancelled the task.
    Cancelled,
    /// The worker stops; the task goes back to the queue.
    WorkerStops,
    /// The worker has lost the lease; the outcome is dropped.
    LeaseLost,
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
            id_prefix,
            public_id: OnceLock::new(),
            number: task.attempt,
            began: Instant::now(),
            cancellation,
            limits: Limits::DEFAULT,
            hidden: OnceLock::new(),
            live: Mutex::new(Live {
                counts: progress.total > 0,
                progress,
                steps: Steps::new(),
                reported: None,
                forecast: Forecast::default(),
                log: LogBuffer::after(task.logged),
                checkpoint: None,
                style: None,
                // Its start is worth a write: it shows who runs it since when.
                changed: true,
                stop: None,
                refused: None,
            }),
        }
    }

    /// The same, with these limits instead of the usual ones.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// How much it may keep.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
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
        self.public_id.get_or_init(|| PublicId::new(self.id_prefix, self.id).to_string())
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

    /// Writes to the task's log.
    #[must_use]
    pub fn log(&self) -> LogHandle<'_> {
        LogHandle { attempt: self }
    }

    /// The state to write now, without lines of the log.
    #[must_use]
    pub fn snapshot(&self) -> ProgressWrite {
        self.write(&self.live(), self.began.elapsed())
    }

    fn write(&self, live: &Live, elapsed: Duration) -> ProgressWrite {
        ProgressWrite {
            id: self.id,
            lease_number: self.lease.number,
            attempt: self.number,
            elapsed,
            progress: live.progress.clone(),
            checkpoint: live.checkpoint.clone(),
            details: Details {
                steps: Some(live.steps.states()).filter(|path| !path.is_empty()),
                time_left: live.forecast.left_at(elapsed.as_secs_f64()),
                ..Details::default()
            },
        }
    }

    /// For the flusher: what has changed since the last call, if anything. Lines
    /// of the log are in it until they are [`stored`](Attempt::stored).
    #[must_use]
    pub fn take_changes(&self) -> Option<ProgressWrite> {
        let mut live = self.live();
        if !std::mem::take(&mut live.changed) {
            return None;
        }
        let elapsed = self.began.elapsed();
        if let Some(fraction) = live.reported {
            live.forecast.report(elapsed.as_secs_f64(), fraction);
        }
        let mut write = self.write(&live, elapsed);
        self.add_log(&live, &mut write);
        Some(write)
    }

    /// What is to be written before the attempt's end, which tells neither of
    /// steps nor of the log: the steps it `failed` at, and the last lines. `None`
    /// for most attempts.
    #[must_use]
    pub fn last_words(&self, failed: bool) -> Option<ProgressWrite> {
        let live = self.live();
        if live.log.is_empty() && !(failed && live.steps.any()) {
            return None;
        }
        let mut write = self.write(&live, self.began.elapsed());
        self.add_log(&live, &mut write);
        Some(write)
    }

    fn add_log(&self, live: &Live, write: &mut ProgressWrite) {
        if !live.log.is_empty() {
            write.details.lines = live.log.lines();
            write.details.logged = Some(live.log.last());
            write.details.log_lines = self.limits.log_lines;
        }
    }

    /// For the flusher: a write is in the database.
    pub fn stored(&self, write: &ProgressWrite) {
        if let Some(number) = write.details.logged {
            self.live().log.stored(number);
        }
    }

    /// For the flusher: the database refuses what this attempt has to say, not
    /// just now. The handler is asked to stop, and the task fails with this
    /// problem.
    pub fn refuse(&self, problem: Problem) {
        let mut live = self.live();
        live.refused.get_or_insert(problem);
        live.checkpoint = None;
        live.log = LogBuffer::after(live.log.last());
        drop(live);
        self.cancellation.cancel();
    }

    /// Why the attempt can't be stored, if so.
    #[must_use]
    pub fn refused(&self) -> Option<Problem> {
        self.live().refused.clone()
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

    /// Keeps these texts out of whatever is said from now on.
    pub(crate) fn hide(&self, secrets: Vec<String>) {
        if !secrets.is_empty() {
            let _hidden_before = self.hidden.set(Hidden::new(secrets));
        }
    }

    /// A text without the task's [`Secret`](crate::Secret) parameters.
    #[must_use]
    pub fn without_secrets(&self, text: String) -> String {
        match self.hidden.get() {
            Some(hidden) => hidden.text(text),
            None => text,
        }
    }

    /// The same of a JSON value.
    #[must_use]
    pub fn json_without_secrets(&self, value: serde_json::Value) -> serde_json::Value {
        match self.hidden.get() {
            Some(hidden) => hidden.json(value),
            None => value,
        }
    }

    pub(crate) fn set_checkpoint(&self, checkpoint: serde_json::Value) {
        let checkpoint = self.json_without_secrets(checkpoint);
        let mut live = self.live();
        live.checkpoint = Some(checkpoint);
        live.changed = true;
    }

    pub(crate) fn use_checkpoints(&self, style: CheckpointStyle) -> Result<(), MixedCheckpoints> {
        let used = *self.live().style.get_or_insert(style);
        if used == style { Ok(()) } else { Err(MixedCheckpoints) }
    }

    pub(crate) fn log_line(&self, level: LogLevel, text: Arc<str>) {
        let text = if self.hidden.get().is_some() { self.without_secrets(text.to_string()).into() } else { text };
        let mut live = self.live();
        live.log.push(level, text, &self.limits);
        live.changed = true;
    }

    pub(crate) fn set_message(&self, message: String) {
        let message = self.without_secrets(message);
        let mut live = self.live();
        live.progress.message = Some(message);
        live.changed = true;
    }

    /// Changes the progress, and works out what follows from it.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Live) -> T) -> T {
        let mut live = self.live();
        let changed = change(&mut live);
        live.settle();
        changed
    }

    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        // A panic while the lock is held can't leave it half-written: every
        // section only assigns.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// The one place where a fraction comes from: the steps, if there are any,
    /// else the elements. What is shown never falls within one attempt (contract,
    /// "The task body").
    fn settle(&mut self) {
        let progress = &mut self.progress;
        progress.processed = progress.processed.clamp(0, progress.total);
        let fraction =
            if self.steps.any() { self.steps.fraction() } else { even_fraction(progress.processed, progress.total) };
        progress.fraction = progress.fraction.max(fraction);
        if self.steps.any() && !self.counts {
            let whole = i64::from(self.steps.whole());
            progress.total = whole;
            progress.processed = ((fraction * whole as f64 + 1e-9) as i64).clamp(0, whole);
        }
        self.reported = Some(fraction);
        self.changed = true;
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
            queue: "default".to_owned(),
            ready_at_ms: 0,
            attempt: 1,
            max_attempts: 1,
            crashes: 0,
            parameters: serde_json::Value::Null,
            checkpoint: None,
            unreadable: None,
            progress: Progress::unknown(),
            logged: 0,
            trace: None,
            special: false,
            timeout: None,
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
