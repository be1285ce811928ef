//! Runs one attempt.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use longhaul_model::problem::NOT_RUNNABLE;
use longhaul_model::store::finish::{AttemptEnd, AttemptOutcome, interruptions};
use longhaul_model::store::progress::{ProgressWrite, flush};
use longhaul_model::store::{ClaimedTask, DEADLINE, is_passing, within};
use longhaul_model::{
    Attempt, ERROR_TEXT_LIMIT, Outcome, Registry, Resources, RunContext, RunError, StopReason, bounded_text,
    check_result,
};
use sqlx::PgPool;

/// What every attempt of this worker shares.
pub(crate) struct Executor {
    pub(crate) registry: Registry,
    /// The engine's own connections.
    pub(crate) engine_pool: PgPool,
    /// For handlers.
    pub(crate) pool: PgPool,
    pub(crate) resources: Arc<Resources>,
    /// How long a handler that was asked to stop may take.
    pub(crate) grace: Duration,
}

impl Executor {
    /// Runs the handler of a claimed task to its end. A panic or an error ends
    /// this attempt only. With the end come the attempt's last words, if it has any.
    /// `None` if the lease was lost meanwhile: whoever has the task now decides.
    pub(crate) async fn run(
        &self,
        task: ClaimedTask,
        attempt: Arc<Attempt>,
    ) -> Option<(AttemptEnd, Option<Box<ProgressWrite>>)> {
        let (type_name, max_attempts, special) = (task.type_name.clone(), task.max_attempts, task.special);
        let context =
            RunContext::new(Arc::clone(&attempt), self.pool.clone(), Arc::clone(&self.resources), task.checkpoint);
        if task.crashes > 0 {
            // Rare, and large: not a part of every attempt's future.
            Box::pin(self.store_start(&attempt)).await;
        }
        let result = match self.registry.get(&type_name) {
            _ if task.unreadable.is_some() => {
                Err(RunError::permanent(NOT_RUNNABLE, task.unreadable.unwrap_or_default()))
            }
            Ok(entry) => {
                let handler = AssertUnwindSafe(entry.run(task.parameters, context)).catch_unwind();
                tokio::select! {
                    biased;
                    result = handler => result.unwrap_or_else(|panic| Err(RunError::panicked(panic_text(&*panic)))),
                    error = self.give_up(&attempt, task.timeout.or(entry.info().timeout)) => Err(error),
                }
            }
            Err(unknown) => Err(RunError::permanent(NOT_RUNNABLE, unknown.to_string())),
        };
        let again = match &result {
            // Rare, as above.
            Err(error) if error.is_interruption() => Box::pin(self.after_interruption(&attempt)).await,
            _ => None,
        };
        let outcome = self.outcome(&type_name, max_attempts, &attempt, result, again)?;
        let last_words = attempt.last_words(!matches!(outcome, AttemptOutcome::Succeeded(_))).map(Box::new);
        let snapshot = attempt.snapshot();
        let end = AttemptEnd {
            id: attempt.id(),
            lease_number: attempt.lease().number,
            attempt: attempt.number(),
            elapsed: attempt.elapsed(),
            progress: snapshot.progress,
            checkpoint: snapshot.checkpoint,
            verdict: outcome,
            asked_to_cancel: attempt.stop_reason() == Some(StopReason::Cancelled),
            special,
        };
        Some((end, last_words))
    }

    /// A task that may have killed its worker before: should it do so again, the
    /// rescuer must know that it had begun. So it does not begin before that is stored,
    /// unless it was asked to stop meanwhile (its lease is lost, for one).
    async fn store_start(&self, attempt: &Attempt) {
        let mut pause = FIRST_PAUSE;
        while let Some(start) = attempt.take_changes() {
            match within(DEADLINE, flush(&self.engine_pool, attempt.lease().worker_id, &[start])).await {
                Ok(written) if written.contains(&attempt.id()) => return,
                // Someone has locked the row, or the lease is gone, which the flusher finds out.
                Ok(_) => {}
                Err(error) if is_passing(&error) => {
                    tracing::warn!(task = attempt.public_id(), %error, "the start of an attempt could not be stored; \
                        retrying");
                }
                Err(error) => {
                    tracing::error!(task = attempt.public_id(), %error, "the start of an attempt could not be stored");
                    attempt.mark_changed();
                    return;
                }
            }
            attempt.mark_changed();
            tokio::select! {
                () = attempt.cancellation().cancelled() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }

    /// The wait after which an attempt is made again that the database interrupted; `None`
    /// if that has happened too often. If the count can't be read, the database is away,
    /// which is no fault of the task.
    async fn after_interruption(&self, attempt: &Attempt) -> Option<Duration> {
        let read = tokio::time::timeout(COUNT_WITHIN, interruptions(&self.engine_pool, attempt.id()));
        let times = match read.await {
            Ok(Ok(times)) => times,
            Ok(Err(_)) | Err(_) => 0,
        };
        let delay = INTERRUPTED_FIRST * 2u32.saturating_pow(times.into());
        (times < INTERRUPTIONS).then(|| delay.min(INTERRUPTED_LONGEST).mul_f64(0.75 + 0.5 * jitter(attempt)))
    }

    /// Ends when the handler is to be dropped: its time is up, or it was asked to
    /// stop and did not in the grace period. What it still does is fenced off.
    async fn give_up(&self, attempt: &Attempt, timeout: Option<Duration>) -> RunError {
        let asked = async {
            attempt.cancellation().cancelled().await;
            if attempt.stop_reason() == Some(StopReason::WorkerStops) {
                // The worker's own drain decides.
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(self.grace).await;
        };
        let timed_out = async {
            match timeout {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = asked => {
                tracing::warn!(task = attempt.public_id(), "the handler did not stop in time; it was aborted");
                Abandoned.into()
            }
            () = timed_out => {
                // For what the handler started elsewhere.
                attempt.cancellation().cancel();
                RunError::timed_out(timeout.unwrap_or_default())
            }
        }
    }

    fn outcome(
        &self,
        type_name: &str,
        max_attempts: u16,
        attempt: &Attempt,
        result: Result<Outcome, RunError>,
        interrupted: Option<Duration>,
    ) -> Option<AttemptOutcome> {
        let stop = attempt.stop_reason();
        if stop == Some(StopReason::LeaseLost) {
            tracing::warn!(
                task = attempt.public_id(),
                attempt = attempt.number(),
                "lease lost; the outcome is dropped"
            );
            return None;
        }
        if let Some(problem) = attempt.refused() {
            return Some(AttemptOutcome::Failed(problem, None));
        }
        Some(match (result, stop) {
            (Ok(Outcome::Done(result)), _) => {
                let result = result.map(|result| attempt.json_without_secrets(result));
                match result.as_ref().map_or(Ok(()), |result| check_result(result, attempt.limits())) {
                    Ok(()) => AttemptOutcome::Succeeded(result),
                    Err(error) => self.failure(type_name, max_attempts, attempt, &error),
                }
            }
            // Whether the handler said so or failed on the way out: it was asked to stop.
            (Ok(Outcome::Cancelled) | Err(_), Some(StopReason::WorkerStops)) => AttemptOutcome::Release,
            (Ok(Outcome::Cancelled), _)
            | (Err(_) | Ok(Outcome::Snooze(_) | Outcome::AwaitChildren), Some(StopReason::Cancelled)) => {
                AttemptOutcome::Cancelled
            }
            (Ok(Outcome::AwaitChildren), _) => AttemptOutcome::AwaitChildren,
            (Ok(Outcome::Snooze(delay)), _) => AttemptOutcome::Snooze(delay),
            (Err(error), _) => match interrupted {
                Some(again_in) => {
                    tracing::warn!(
                        task = attempt.public_id(),
                        attempt = attempt.number(),
                        cause = error.cause().map(|cause| attempt.without_secrets(cause)),
                        again_in_ms = again_in.as_millis(),
                        "the database interrupted the attempt; it will be repeated"
                    );
                    AttemptOutcome::Interrupted(again_in)
                }
                None => self.failure(type_name, max_attempts, attempt, &error),
            },
        })
    }

    fn failure(&self, type_name: &str, max_attempts: u16, attempt: &Attempt, error: &RunError) -> AttemptOutcome {
        let mut problem = error.problem().clone();
        problem.detail = bounded_text(attempt.without_secrets(problem.detail), ERROR_TEXT_LIMIT);
        let cause = error.cause().map(|cause| bounded_text(attempt.without_secrets(cause), ERROR_TEXT_LIMIT));
        let policy = self.registry.get(type_name).map(|entry| entry.info().retry).unwrap_or_default();
        let delay =
            error.next_delay(attempt.number(), &policy, jitter(attempt)).filter(|_| attempt.number() < max_attempts);
        tracing::warn!(
            task = attempt.public_id(),
            attempt = attempt.number(),
            code = problem.code,
            detail = problem.detail,
            cause = cause.as_deref(),
            retry_in_ms = delay.map(|delay| delay.as_millis()),
            "attempt failed"
        );
        match delay {
            Some(delay) => AttemptOutcome::Retry(delay, problem, cause),
            None => AttemptOutcome::Failed(problem, cause),
        }
    }
}

/// The waits between tries to store a start.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// So often in a row the database may interrupt an attempt before that counts as a failure:
/// with these waits, over a minute and a half.
const INTERRUPTIONS: u16 = 10;
const INTERRUPTED_FIRST: Duration = Duration::from_millis(100);
const INTERRUPTED_LONGEST: Duration = Duration::from_secs(30);
/// How long to wait for the count of interruptions.
const COUNT_WITHIN: Duration = Duration::from_secs(1);

/// The handler did not stop when asked to.
#[derive(Debug, thiserror::Error)]
#[error("the handler did not stop in time after it was asked to stop")]
struct Abandoned;

/// The jitter of a retry, 0 to 1, from bits of the id that are random: the same
/// for the same attempt, so a test can foretell it.
fn jitter(attempt: &Attempt) -> f64 {
    let mixed = attempt.id().as_u128() as u64 ^ u64::from(attempt.number()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

/// What a panic says.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
