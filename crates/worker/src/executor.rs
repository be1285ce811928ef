//! Runs one attempt.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use longhaul_model::problem::NOT_RUNNABLE;
use longhaul_model::store::ClaimedTask;
use longhaul_model::store::finish::{AttemptEnd, Verdict};
use longhaul_model::store::progress::{ProgressWrite, flush};
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
            Ok(entry) => {
                let handler = AssertUnwindSafe(entry.run(task.parameters, context)).catch_unwind();
                tokio::select! {
                    biased;
                    result = handler => result.unwrap_or_else(|panic| Err(RunError::panicked(panic_text(&*panic)))),
                    error = self.give_up(&attempt, entry.info().timeout) => Err(error),
                }
            }
            Err(unknown) => Err(RunError::permanent(NOT_RUNNABLE, unknown.to_string())),
        };
        let verdict = self.verdict(&type_name, max_attempts, &attempt, result)?;
        let last_words = attempt.last_words(!matches!(verdict, Verdict::Succeeded(_))).map(Box::new);
        let snapshot = attempt.snapshot();
        let end = AttemptEnd {
            id: attempt.id(),
            lease_number: attempt.lease().number,
            attempt: attempt.number(),
            elapsed: attempt.elapsed(),
            progress: snapshot.progress,
            checkpoint: snapshot.checkpoint,
            verdict,
            asked_to_cancel: attempt.stop_reason() == Some(StopReason::Cancelled),
            special,
        };
        Some((end, last_words))
    }

    /// A task that may have killed its worker before: should it do so again, the
    /// rescuer must know that it had begun.
    async fn store_start(&self, attempt: &Attempt) {
        if let Some(start) = attempt.take_changes()
            && let Err(error) = flush(&self.engine_pool, attempt.lease().worker_id, &[start]).await
        {
            tracing::warn!(task = attempt.public_id(), %error, "the start could not be stored");
            attempt.mark_changed();
        }
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
                tracing::warn!(task = attempt.public_id(), "did not stop in time; given up");
                Abandoned.into()
            }
            () = timed_out => {
                // For what the handler started elsewhere.
                attempt.cancellation().cancel();
                RunError::timed_out(timeout.unwrap_or_default())
            }
        }
    }

    fn verdict(
        &self,
        type_name: &str,
        max_attempts: u16,
        attempt: &Attempt,
        result: Result<Outcome, RunError>,
    ) -> Option<Verdict> {
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
            return Some(Verdict::Failed(problem, None));
        }
        Some(match (result, stop) {
            (Ok(Outcome::Done(result)), _) => {
                let result = result.map(|result| attempt.json_without_secrets(result));
                match result.as_ref().map_or(Ok(()), |result| check_result(result, attempt.limits())) {
                    Ok(()) => Verdict::Succeeded(result),
                    Err(error) => self.failure(type_name, max_attempts, attempt, &error),
                }
            }
            // Whether the handler said so or failed on the way out: it was asked to stop.
            (Ok(Outcome::Cancelled) | Err(_), Some(StopReason::WorkerStops)) => Verdict::Release,
            (Ok(Outcome::Cancelled), _)
            | (Err(_) | Ok(Outcome::Snooze(_) | Outcome::AwaitChildren), Some(StopReason::Cancelled)) => {
                Verdict::Cancelled
            }
            (Ok(Outcome::AwaitChildren), _) => Verdict::AwaitChildren,
            (Ok(Outcome::Snooze(delay)), _) => Verdict::Snooze(delay),
            (Err(error), _) => self.failure(type_name, max_attempts, attempt, &error),
        })
    }

    fn failure(&self, type_name: &str, max_attempts: u16, attempt: &Attempt, error: &RunError) -> Verdict {
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
            Some(delay) => Verdict::Retry(delay, problem, cause),
            None => Verdict::Failed(problem, cause),
        }
    }
}

/// The handler did not stop when asked to.
#[derive(Debug, thiserror::Error)]
#[error("the handler did not stop in time after it was asked to")]
struct Abandoned;

/// The jitter of a retry, 0 to 1, from bits of the id that are random: the same
/// for the same attempt, so a test can foretell it.
fn jitter(attempt: &Attempt) -> f64 {
    let mixed = attempt.id().as_u128() as u64 ^ u64::from(attempt.number()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
