//! Which tasks someone asks for.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::State;

/// A filter of tasks. Absent or empty members match all tasks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskFilter {
    /// Names of their types.
    pub types: Vec<String>,
    /// Their states, as people see them (running is seen at once).
    pub states: Vec<State>,
    /// Their queue.
    pub queue: Option<String>,
    /// The key of the tasks, see [`crate::TaskType::key`].
    pub key: Option<String>,
    /// The creator.
    pub created_by: Option<String>,
    /// Accepted at this time or later.
    pub accepted_after: Option<DateTime<Utc>>,
    /// Accepted before this time.
    pub accepted_before: Option<DateTime<Utc>>,
    /// The error `code` of the task, or of its last attempt.
    pub error_code: Option<String>,
    /// One of their tags.
    pub tag: Option<String>,
}

/// The ids that a filter leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) from: Uuid,
    pub(super) below: Uuid,
}
