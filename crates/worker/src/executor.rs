//! Runs one attempt.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use longhaul_model::problem::NOT_RUNNABLE;
use longhaul_model::store::ClaimedTask;
use longhaul_model::store::finish::{AttemptEnd, Verdict};
use longhaul_model::{Attempt, Outcome, Registry, Resources, RunContext, RunError, StopReason};
use sqlx::PgPool;

/// What every attempt of this worker shares.
pub(crate) struct Executor {
    pub(crate) registry: Registry,
    /// For handlers; the engine has its own connections.
    pub(crate) pool: PgPool,
    pub(crate) resources: Arc<Resources>,
}

impl Executor {
    /// Runs the handler of a claimed task to its end. A panic or an error ends
    /// this attempt only. `None` if the lease was lost meanwhile: whoever has the
    /// task now decides.
    pub(crate) async fn run(&self, task: ClaimedTask, attempt: Arc<Attempt>) -> Option<AttemptEnd> {
        let (type_name, max_attempts) = (task.type_name.clone(), task.max_attempts);
        let context =
            RunContext::new(Arc::clone(&attempt), self.pool.clone(), Arc::clone(&self.resources), task.checkpoint);
        let result = match self.registry.get(&type_name) {
            Ok(entry) => {
                let handler = AssertUnwindSafe(entry.run(task.parameters, context));
                handler.catch_unwind().await.unwrap_or_else(|panic| Err(RunError::panicked(panic_text(&*panic))))
            }
            Err(unknown) => Err(RunError::permanent(NOT_RUNNABLE, unknown.to_string())),
        };
        let verdict = self.verdict(&type_name, max_attempts, &attempt, result)?;
        let snapshot = attempt.snapshot();
        Some(AttemptEnd {
            id: attempt.id(),
            lease_number: attempt.lease().number,
            attempt: attempt.number(),
            elapsed: attempt.elapsed(),
            progress: snapshot.progress,
            checkpoint: snapshot.checkpoint,
            verdict,
        })
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
        Some(match (result, stop) {
            (Ok(Outcome::Done(result)), _) => Verdict::Succeeded(result),
            // Whether the handler said so or failed on the way out: it was asked to stop.
            (Ok(Outcome::Cancelled) | Err(_), Some(StopReason::WorkerStops)) => Verdict::Release,
            (Ok(Outcome::Cancelled), _) | (Err(_) | Ok(Outcome::Snooze(_)), Some(StopReason::Cancelled)) => {
                Verdict::Cancelled
            }
            (Ok(Outcome::Snooze(delay)), _) => Verdict::Snooze(delay),
            (Err(error), _) => self.failure(type_name, max_attempts, attempt, &error),
        })
    }

    fn failure(&self, type_name: &str, max_attempts: u16, attempt: &Attempt, error: &RunError) -> Verdict {
        let (problem, cause) = (error.problem().clone(), error.cause());
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
