//! Why a tracker did not say.

use std::time::Duration;

use longhaul_model::{CreateError, ProblemKind, RunError};

use crate::problem::{TRACKER_MISBEHAVED, TRACKER_NOT_ALLOWED, TRACKER_REFUSED, TRACKER_UNAVAILABLE};

/// Why a tracker did not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrackerError {
    /// It did not answer in time, can't be reached, or asked to be left alone.
    Unavailable {
        /// For clients.
        detail: String,
        /// When it wants to be asked again, if it said so.
        retry_after: Option<Duration>,
    },
    /// It does not accept our credentials, or these have no right to look.
    Refused(String),
    /// Its address is one that this host may not talk to.
    NotAllowed(String),
    /// Its answer is not what such a tracker answers.
    Misbehaved(String),
}

impl TrackerError {
    fn kind(&self) -> ProblemKind {
        match self {
            TrackerError::Unavailable { .. } => TRACKER_UNAVAILABLE,
            TrackerError::Refused(_) => TRACKER_REFUSED,
            TrackerError::NotAllowed(_) => TRACKER_NOT_ALLOWED,
            TrackerError::Misbehaved(_) => TRACKER_MISBEHAVED,
        }
    }

    /// When it wants to be asked again, if it said so.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            TrackerError::Unavailable { retry_after, .. } => *retry_after,
            TrackerError::Refused(_) | TrackerError::NotAllowed(_) | TrackerError::Misbehaved(_) => None,
        }
    }

    /// In words, for clients.
    pub(crate) fn detail(self) -> String {
        match self {
            TrackerError::Unavailable { detail, .. } => detail,
            TrackerError::Refused(detail) | TrackerError::NotAllowed(detail) | TrackerError::Misbehaved(detail) => {
                detail
            }
        }
    }
}

impl From<TrackerError> for CreateError {
    fn from(error: TrackerError) -> Self {
        match error {
            TrackerError::Unavailable { detail, retry_after } => CreateError::Unavailable { detail, retry_after },
            error => CreateError::Impossible { kind: error.kind(), detail: error.detail() },
        }
    }
}

/// Whatever a tracker says may be different in a minute (credentials and
/// addresses are mended), so every error is tried again by the type's policy.
impl From<TrackerError> for RunError {
    fn from(error: TrackerError) -> Self {
        let kind = error.kind();
        match error {
            TrackerError::Unavailable { detail, retry_after: Some(delay) } => RunError::not_before(delay, kind, detail),
            error => RunError::transient(kind, error.detail()),
        }
    }
}
