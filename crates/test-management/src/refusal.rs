//! Why a task can't be done: found by `create` (inside the POST) or by `run`
//! (the second look), told the same way.

use longhaul_model::{CreateError, ProblemKind, RunError};

use crate::trackers::TrackerError;

/// Why a task can't be done.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The job is impossible.
    Impossible(ProblemKind, String),
    /// It is not there, or not for whoever asks.
    Unseen(ProblemKind, String),
    /// A tracker did not say.
    Tracker(TrackerError),
    /// The database failed.
    Database(sqlx::Error),
    /// The host did not give what the task type needs.
    Host(&'static str),
}

/// The host is wrongly put together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct HostDefect(&'static str);

impl From<TrackerError> for Refusal {
    fn from(error: TrackerError) -> Self {
        Self::Tracker(error)
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Refusal> for CreateError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Impossible(kind, detail) => CreateError::Impossible { kind, detail },
            Refusal::Unseen(kind, detail) => CreateError::Unseen { kind, detail },
            Refusal::Tracker(error) => error.into(),
            Refusal::Database(error) => error.into(),
            Refusal::Host(what) => CreateError::Internal(Box::new(HostDefect(what))),
        }
    }
}

impl From<Refusal> for RunError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Impossible(kind, detail) | Refusal::Unseen(kind, detail) => RunError::permanent(kind, detail),
            Refusal::Tracker(error) => error.into(),
            Refusal::Database(error) => error.into(),
            Refusal::Host(what) => HostDefect(what).into(),
        }
    }
}
