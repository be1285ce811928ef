//! The filter of a task that changes tasks.

use longhaul_api::access::permission::MANAGE_TASKS;
use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::problem::NOT_RUNNABLE;
use longhaul_model::store::find::TaskFilter;
use longhaul_model::store::task_type;
use longhaul_model::{CreateContext, CreateError, ParameterError, RunError, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The filter: tasks that match all given members, at least one of which is required.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct Filter<S> {
    /// Names of task types.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub types: Vec<String>,
    /// States.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub states: Vec<S>,
    /// A queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub queue: Option<String>,
    /// The key of the tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub key: Option<String>,
    /// The creator of the tasks, e.g. `schedule:nightly`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub created_by: Option<String>,
    /// Accepted at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_after: Option<DateTime<Utc>>,
    /// Accepted before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_before: Option<DateTime<Utc>>,
    /// The error `code` of the task, or of its last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub error_code: Option<String>,
    /// One of their tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub tag: Option<String>,
}

impl<S> Default for Filter<S> {
    fn default() -> Self {
        Self {
            types: Vec::new(),
            states: Vec::new(),
            queue: None,
            key: None,
            created_by: None,
            accepted_after: None,
            accepted_before: None,
            error_code: None,
            tag: None,
        }
    }
}

/// The states in which a task can be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the states are described where they come from")]
pub enum OpenState {
    Scheduled,
    Queued,
    Running,
    Retrying,
}

/// The states in which a task can be run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the states are described where they come from")]
pub enum EndState {
    Failed,
    Cancelled,
}

/// States that a filter can name.
pub trait FilterState: Copy + 'static {
    /// All of them: what is meant if none is named.
    const ALL: &'static [Self];

    /// The state in general.
    fn state(self) -> State;
}

impl FilterState for OpenState {
    const ALL: &'static [Self] = &[Self::Scheduled, Self::Queued, Self::Running, Self::Retrying];

    fn state(self) -> State {
        match self {
            Self::Scheduled => State::Scheduled,
            Self::Queued => State::Queued,
            Self::Running => State::Running,
            Self::Retrying => State::Retrying,
        }
    }
}

impl FilterState for EndState {
    const ALL: &'static [Self] = &[Self::Failed, Self::Cancelled];

    fn state(self) -> State {
        match self {
            Self::Failed => State::Failed,
            Self::Cancelled => State::Cancelled,
        }
    }
}

/// What is said of a filter that names nothing.
const NAMES_NOTHING: &str = "Specify which tasks: give at least one parameter.";

impl<S: FilterState> Filter<S> {
    /// Refuses what would mean every task, or none, and the tasks of others to whoever
    /// may not manage them.
    ///
    /// # Errors
    /// Everything that is wrong, with JSON pointers; or the permission that is missing.
    pub(super) async fn check(&self, context: &CreateContext) -> Result<(), CreateError> {
        if self.created_by.is_none() || self.created_by.as_deref() != context.created_by() {
            context.require(MANAGE_TASKS)?;
        }
        let mut errors = Vec::new();
        let mut complain = |pointer: String, message: &str| {
            errors.push(ParameterError { pointer, message: message.to_owned() });
        };
        if self.is_empty() {
            complain("/Parameters".to_owned(), NAMES_NOTHING);
        }
        for name in task_type::unknown(&context.pool, &self.types).await? {
            let at = self.types.iter().position(|known| *known == name).unwrap_or_default();
            complain(format!("/Parameters/Types/{at}"), "There is no such task type; case matters.");
        }
        if let (Some(after), Some(before)) = (self.accepted_after, self.accepted_before)
            && after >= before
        {
            complain("/Parameters/AcceptedBefore".to_owned(), "It must be later than AcceptedAfter.");
        }
        if errors.is_empty() { Ok(()) } else { Err(CreateError::Invalid(errors)) }
    }

    fn is_empty(&self) -> bool {
        let Self { types, states, queue, key, created_by, accepted_after, accepted_before, error_code, tag } = self;
        types.is_empty()
            && states.is_empty()
            && [queue, key, created_by, error_code, tag].iter().all(|given| given.is_none())
            && accepted_after.is_none()
            && accepted_before.is_none()
    }

    /// The filter as the store takes it.
    ///
    /// # Errors
    /// If it names nothing, and so would mean every task: one that was started from SQL has not
    /// been through [`check`](Self::check).
    pub(super) fn to_store(&self) -> Result<TaskFilter, RunError> {
        if self.is_empty() {
            return Err(RunError::permanent(NOT_RUNNABLE, format!("/Parameters: {NAMES_NOTHING}")));
        }
        let states = if self.states.is_empty() { S::ALL } else { &self.states };
        Ok(TaskFilter {
            types: self.types.clone(),
            states: states.iter().map(|state| state.state()).collect(),
            queue: self.queue.clone(),
            key: self.key.clone(),
            created_by: self.created_by.clone(),
            accepted_after: self.accepted_after,
            accepted_before: self.accepted_before,
            error_code: self.error_code.clone(),
            tag: self.tag.clone(),
        })
    }
}
