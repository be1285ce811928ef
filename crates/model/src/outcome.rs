//! How the two steps of a task type end.

use std::error::Error as StdError;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::problem::{ATTEMPT_FAILED, ATTEMPT_PANICKED, ATTEMPT_TIMED_OUT, Problem, ProblemKind};
use crate::report::Report;
use crate::validate::ParameterError;

/// The outcome of a `run` step without error.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The task is done; the result, if any, is kept with it.
    Done(Option<Value>),
    /// Snooze: run again after the delay, without spending an attempt.
    Snooze(Duration),
    /// Run again, in the same attempt, when all children that
    /// [`fan_out`](crate::RunContext::fan_out) started have completed. Until then the task occupies
    /// no worker, and its progress is that of its children.
    AwaitChildren,
    /// The handler stopped because its cancellation token was cancelled.
    Cancelled,
}

impl Outcome {
    /// Done, without a result.
    #[must_use]
    pub const fn done() -> Self {
        Outcome::Done(None)
    }

    /// Done, with a result that clients read as `Result` in the completed task's body.
    ///
    /// # Errors
    /// If the value can't be written as JSON.
    pub fn with_result(result: impl Serialize) -> Result<Self, RunError> {
        Ok(Outcome::Done(Some(serde_json::to_value(result)?)))
    }

    /// Done, with further members and links of the completed task's body.
    #[must_use]
    pub fn with_report(report: Report) -> Self {
        Outcome::Done(report.into_stored())
    }
}

/// Why a `create` step refused a POST. Then nothing is stored.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The caller lacks a permission (403).
    #[error("the permission {permission} is required")]
    Forbidden {
        /// Its path, e.g. `TestManagement/ManageIncidents/Edit`.
        permission: String,
    },
    /// The parameters are well-formed but make no sense (400).
    #[error("{}", crate::counted(.0.len(), "invalid parameter"))]
    Invalid(Vec<ParameterError>),
    /// The task is impossible, e.g. the ticket does not exist (500, as in the contract).
    #[error("{detail}")]
    Impossible {
        /// The kind, with its code.
        kind: ProblemKind,
        /// What to change.
        detail: String,
    },
    /// The task's record does not exist, or the caller may not see it; the caller must not learn
    /// which of the two (500, as [`Impossible`](CreateError::Impossible)). Unlike `Impossible` it
    /// also applies when a task is only prepared: for a schedule, and for a retry.
    #[error("{detail}")]
    Unseen {
        /// The kind, with its code.
        kind: ProblemKind,
        /// What to change.
        detail: String,
    },
    /// A service that the step needs is unavailable (503 with `Retry-After`).
    #[error("{detail}")]
    Unavailable {
        /// The service that is unavailable.
        detail: String,
        /// When the service may be called again, if known; the response contains it.
        retry_after: Option<Duration>,
    },
    /// A defect (500); only the log has the cause.
    #[error("unexpected error")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
}

impl From<sqlx::Error> for CreateError {
    fn from(error: sqlx::Error) -> Self {
        if crate::store::is_passing(&error) {
            CreateError::Unavailable {
                detail: crate::store::failure::what_passes(&error).to_owned(),
                retry_after: None,
            }
        } else {
            CreateError::Internal(Box::new(error))
        }
    }
}

/// How an attempt failed. Created by `?` from any error (the attempt is retried by the type's
/// policy), or by [`RunError::permanent`], [`RunError::transient`] and [`RunError::retry_after`].
///
/// Does not implement [`std::error::Error`], so that `?` can turn every error
/// into it (the same way as `anyhow::Error`).
#[derive(Debug)]
pub struct RunError {
    pub(crate) problem: Box<Problem>,
    pub(crate) again: Again,
    pub(crate) cause: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    ByPolicy,
    After(Duration),
    /// By the policy, but not before this delay.
    NotBefore(Duration),
    Never,
}

impl RunError {
    /// No further attempt can succeed: the task fails now.
    #[must_use]
    pub fn permanent(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(kind, detail)), again: Again::Never, cause: None }
    }

    /// Retry after exactly this delay (e.g. from a `Retry-After`). Spends an attempt.
    #[must_use]
    pub fn retry_after(delay: Duration, kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(kind, detail)), again: Again::After(delay), cause: None }
    }

    /// Retry by the type's policy, but not before this delay has passed. For a `Retry-After` of
    /// another system: short values do not spend the attempts faster than the policy would.
    #[must_use]
    pub fn not_before(delay: Duration, kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(kind, detail)), again: Again::NotBefore(delay), cause: None }
    }

    /// This attempt failed for a transient reason. Retried by the type's policy.
    #[must_use]
    pub fn transient(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(kind, detail)), again: Again::ByPolicy, cause: None }
    }

    /// For the worker: the handler panicked with this text. Retried by the
    /// type's policy.
    #[must_use]
    pub fn panicked(text: String) -> Self {
        Self {
            problem: Box::new(Problem::new(
                ATTEMPT_PANICKED,
                "The handler panicked; the worker's log has its message under this task's id.",
            )),
            again: Again::ByPolicy,
            cause: Some(text.into()),
        }
    }

    /// For the worker: the attempt took longer than `limit`. Retried by the
    /// type's policy.
    #[must_use]
    pub fn timed_out(limit: Duration) -> Self {
        let detail = format!("The attempt exceeded the time limit of {} s of its type.", limit.as_secs_f64());
        Self { problem: Box::new(Problem::new(ATTEMPT_TIMED_OUT, detail)), again: Again::ByPolicy, cause: None }
    }

    /// The problem that clients see.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The error and its sources in one line, for the log and the operator's
    /// view of attempts; clients never see it.
    #[must_use]
    pub fn cause(&self) -> Option<String> {
        let mut error: &dyn StdError = self.cause.as_deref()?;
        let mut text = error.to_string();
        while let Some(source) = error.source() {
            error = source;
            text.push_str(": ");
            text.push_str(&error.to_string());
        }
        Some(text)
    }

    /// Whether the database interrupted the handler: a transient database error is among the causes
    /// (a lost connection, a serialization failure, a deadlock, a timeout of the own connection
    /// pool, see [`crate::store::Failure`]), and the handler did not decide itself what follows.
    #[must_use]
    pub fn is_interruption(&self) -> bool {
        let mut cause = self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static));
        while let Some(error) = cause {
            if error.downcast_ref::<sqlx::Error>().is_some_and(crate::store::is_passing) {
                return self.again == Again::ByPolicy;
            }
            cause = error.source();
        }
        false
    }

    /// The delay of the retry: `None` means no retry. `policy` and `random` (0 to 1) give the delay
    /// if the handler did not.
    #[must_use]
    pub fn next_delay(&self, attempt: u16, policy: &crate::RetryPolicy, random: f64) -> Option<Duration> {
        match self.again {
            Again::Never => None,
            Again::After(delay) => Some(delay),
            Again::NotBefore(delay) => Some(delay.max(policy.delay_after(attempt, random))),
            Again::ByPolicy => Some(policy.delay_after(attempt, random)),
        }
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for RunError {
    fn from(error: E) -> Self {
        Self {
            problem: Box::new(Problem::new(
                ATTEMPT_FAILED,
                "The attempt failed unexpectedly; the worker's log has the cause under this task's id.",
            )),
            again: Again::ByPolicy,
            cause: Some(Box::new(error)),
        }
    }
}
