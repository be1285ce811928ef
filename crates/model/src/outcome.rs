//! How the two steps of a task type end.

use std::error::Error as StdError;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::problem::{ATTEMPT_FAILED, ATTEMPT_PANICKED, ATTEMPT_TIMED_OUT, Problem, ProblemKind};
use crate::report::Report;
use crate::validate::ParameterError;

/// How a `run` step ended without error.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The task is done; the result, if any, is kept with it.
    Done(Option<Value>),
    /// Not yet: run again after the delay, without spending an attempt.
    Snooze(Duration),
    /// Not yet: run again, in the same attempt, when all children have ended that
    /// [`fan_out`](crate::RunContext::fan_out) has started. Until then the task takes
    /// up no worker, and its progress is theirs.
    AwaitChildren,
    /// The handler stopped because its cancellation token said so.
    Cancelled,
}

impl Outcome {
    /// Done, without a result.
    #[must_use]
    pub const fn done() -> Self {
        Outcome::Done(None)
    }

    /// Done, with a result that clients read as members of the finished body's
    /// `Result`.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn with_result(result: impl Serialize) -> Result<Self, RunError> {
        Ok(Outcome::Done(Some(serde_json::to_value(result)?)))
    }

    /// Done, with members and links of the finished body besides its `Result`.
    #[must_use]
    pub fn with_report(report: Report) -> Self {
        Outcome::Done(report.into_stored())
    }
}

/// Why a `create` step refused a POST. Nothing is stored then.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The caller lacks a permission (403).
    #[error("the permission {permission} is needed")]
    Forbidden {
        /// In the original's path form, e.g. `TestManagement/ManageIncidents/Edit`.
        permission: String,
    },
    /// The parameters are well-formed but make no sense (400).
    #[error("{} invalid parameter(s)", .0.len())]
    Invalid(Vec<ParameterError>),
    /// The job can't be done, e.g. the ticket does not exist (500, as the seed
    /// has it).
    #[error("{detail}")]
    Impossible {
        /// The kind, with its code.
        kind: ProblemKind,
        /// What to change.
        detail: String,
    },
    /// Something that the step needs does not answer (503 with `Retry-After`).
    #[error("{detail}")]
    Unavailable {
        /// What did not answer.
        detail: String,
    },
    /// A defect of ours (500); the cause goes to the log only.
    #[error("unexpected error")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
}

impl From<sqlx::Error> for CreateError {
    fn from(error: sqlx::Error) -> Self {
        if crate::store::is_unavailable(&error) {
            CreateError::Unavailable { detail: "The database does not answer.".to_owned() }
        } else {
            CreateError::Internal(Box::new(error))
        }
    }
}

/// How an attempt failed. Made by `?` from any error (the attempt is retried by
/// the type's policy), or by [`RunError::permanent`],
/// [`RunError::transient`] and [`RunError::retry_after`].
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
    Never,
}

impl RunError {
    /// No attempt can succeed: the task fails now.
    #[must_use]
    pub fn permanent(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(kind, detail)), again: Again::Never, cause: None }
    }

    /// Try again after exactly this delay (e.g. what a `Retry-After` said),
    /// which spends an attempt.
    #[must_use]
    pub fn retry_after(delay: Duration, kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(kind, detail)), again: Again::After(delay), cause: None }
    }

    /// This attempt failed for a reason that may pass; tried again by the type's
    /// policy.
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
                "The handler panicked; the log has its message under this task's id.",
            )),
            again: Again::ByPolicy,
            cause: Some(text.into()),
        }
    }

    /// For the worker: the attempt took longer than `limit`. Retried by the
    /// type's policy.
    #[must_use]
    pub fn timed_out(limit: Duration) -> Self {
        let detail = format!("The attempt took longer than the {} s that its type allows.", limit.as_secs_f64());
        Self { problem: Box::new(Problem::new(ATTEMPT_TIMED_OUT, detail)), again: Again::ByPolicy, cause: None }
    }

    /// What clients are told.
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

    /// When to try again: `None` means never. `policy` and `random` (0 to 1)
    /// give the delay where the handler did not.
    #[must_use]
    pub fn next_delay(&self, attempt: u16, policy: &crate::RetryPolicy, random: f64) -> Option<Duration> {
        match self.again {
            Again::Never => None,
            Again::After(delay) => Some(delay),
            Again::ByPolicy => Some(policy.delay_after(attempt, random)),
        }
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for RunError {
    fn from(error: E) -> Self {
        Self {
            problem: Box::new(Problem::new(
                ATTEMPT_FAILED,
                "The attempt failed unexpectedly; the log names the cause under this task's id.",
            )),
            again: Again::ByPolicy,
            cause: Some(Box::new(error)),
        }
    }
}
