//! What an author of task types implements.

use std::future::Future;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{CreateContext, CreateError, Outcome, Progress, RetryPolicy, RunContext, RunError};

/// The priority of tasks that ask for none. 0 goes first, 9 last.
pub const DEFAULT_PRIORITY: u8 = 5;

/// A kind of background task: the struct is its parameters, the constants are
/// its policy, [`create`](TaskType::create) runs inside the POST and
/// [`run`](TaskType::run) in a worker.
///
/// Derive `serde::Deserialize` with `deny_unknown_fields` and
/// `schemars::JsonSchema`: requests are checked against the schema before
/// `create` sees them, and every complaint is reported at once.
pub trait TaskType: DeserializeOwned + Serialize + JsonSchema + Send + Sync + 'static {
    /// The wire's `Type`.
    const NAME: &'static str;
    /// What stands before the guid in public ids, with its separator.
    const ID_PREFIX: &'static str;
    /// The queue that its tasks go to.
    const QUEUE: &'static str = "default";
    /// 0 (first) to 9 (last).
    const PRIORITY: u8 = DEFAULT_PRIORITY;
    /// When failed attempts are tried again.
    const RETRY: RetryPolicy = RetryPolicy::DEFAULT;

    /// Decides, inside the POST, whether the task may start: authorises,
    /// validates, looks things up. Returns the progress that the `202` shows.
    /// It must change nothing, since the task is not stored yet.
    ///
    /// # Errors
    /// A refusal; no task is stored then.
    fn create(&self, context: &CreateContext) -> impl Future<Output = Result<Progress, CreateError>> + Send {
        let _unused = context;
        async { Ok(Progress::unknown()) }
    }

    /// Does the work, in a worker. May run more than once for one task
    /// (at-least-once): after a crash it starts again, with the last saved
    /// checkpoint in its context.
    ///
    /// # Errors
    /// The attempt failed; the retry policy decides whether another follows.
    fn run(self, context: RunContext) -> impl Future<Output = Result<Outcome, RunError>> + Send;
}

/// A task type's constants, as a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TaskTypeInfo {
    /// See [`TaskType::NAME`].
    pub name: &'static str,
    /// See [`TaskType::ID_PREFIX`].
    pub id_prefix: &'static str,
    /// See [`TaskType::QUEUE`].
    pub queue: &'static str,
    /// See [`TaskType::PRIORITY`].
    pub priority: u8,
    /// See [`TaskType::RETRY`].
    pub retry: RetryPolicy,
}

impl TaskTypeInfo {
    pub(crate) const fn of<T: TaskType>() -> Self {
        Self { name: T::NAME, id_prefix: T::ID_PREFIX, queue: T::QUEUE, priority: T::PRIORITY, retry: T::RETRY }
    }
}
