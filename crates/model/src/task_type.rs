//! What an author of task types implements.

use std::future::Future;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{CreateContext, CreateError, Outcome, ProblemKind, Progress, RetryPolicy, RunContext, RunError};

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

    /// The longest that one attempt may take; then its token is cancelled, it is
    /// given up, and the retry policy decides. No limit if absent.
    const TIMEOUT: Option<Duration> = None;
    /// With [`unique_key`](TaskType::unique_key): how long after it was accepted a
    /// task keeps others with its key out, even if it has ended. Until it ends, if
    /// absent.
    const UNIQUE_FOR: Option<Duration> = None;

    /// What [`create`](TaskType::create) may find impossible: the OpenAPI document
    /// lists these as answers to a POST.
    const PROBLEMS: &'static [ProblemKind] = &[];

    /// Whose task it is: a tenant, an account, a host … In a queue that is fair or
    /// has a limit per key, keys take turns.
    fn key(&self) -> Option<String> {
        None
    }

    /// What makes it the same as another task: while that one is open (or for
    /// [`UNIQUE_FOR`](TaskType::UNIQUE_FOR)), a POST with the same key returns it
    /// instead of starting a second. For "the same parameters", return
    /// [`same_parameters`](crate::same_parameters).
    fn unique_key(&self) -> Option<String> {
        None
    }

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
    /// See [`TaskType::TIMEOUT`].
    pub timeout: Option<Duration>,
    /// See [`TaskType::UNIQUE_FOR`].
    pub unique_for: Option<Duration>,
}

/// A unique key of all parameters: two tasks are the same if their parameters are.
#[must_use]
pub fn same_parameters<T: Serialize>(task: &T) -> Option<String> {
    // Members come in the order of the struct, so the text is canonical.
    serde_json::to_string(task).ok()
}

/// A unique key as it is stored: unique within its type. Long ones are shortened, as
/// the database's index can't hold them. `longhaul.enqueue` (SQL) makes the same.
pub(crate) fn stored_unique_key(type_name: &str, key: &str) -> String {
    if key.len() <= 500 {
        return format!("u:{type_name}:{key}");
    }
    let digest = Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes());
    let beginning: String = key.chars().take(100).collect();
    format!("u:{type_name}:{digest}:{beginning}")
}

impl TaskTypeInfo {
    /// The constants of `T`.
    #[must_use]
    pub const fn of<T: TaskType>() -> Self {
        Self {
            name: T::NAME,
            id_prefix: T::ID_PREFIX,
            queue: T::QUEUE,
            priority: T::PRIORITY,
            retry: T::RETRY,
            timeout: T::TIMEOUT,
            unique_for: T::UNIQUE_FOR,
        }
    }
}
