//! What an author of task types implements.

use std::future::Future;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::limits::UNIQUE_KEY_BYTES;
use crate::{CreateContext, CreateError, Outcome, ProblemKind, Progress, RetryPolicy, RunContext, RunError};

/// The default priority. 0 is the first, 9 the last.
pub const DEFAULT_PRIORITY: u8 = 5;

/// A kind of background task: the struct is its parameters, the constants are
/// its policy, [`create`](TaskType::create) runs inside the POST and
/// [`run`](TaskType::run) in a worker.
///
/// Derive `serde::Deserialize` with `deny_unknown_fields` and `schemars::JsonSchema`: the API
/// checks requests against the schema before it calls `create`, and reports all errors at once.
pub trait TaskType: DeserializeOwned + Serialize + JsonSchema + Send + Sync + 'static {
    /// The wire's `Type`.
    const NAME: &'static str;
    /// The prefix of the guid in public ids, with its separator.
    const ID_PREFIX: &'static str;
    /// The queue of its tasks.
    const QUEUE: &'static str = "default";
    /// 0 (first) to 9 (last).
    const PRIORITY: u8 = DEFAULT_PRIORITY;
    /// When failed attempts are tried again.
    const RETRY: RetryPolicy = RetryPolicy::DEFAULT;

    /// The time limit of one attempt. After it, the worker cancels the attempt's token and aborts
    /// the attempt, and the retry policy decides. Default: no limit.
    const TIMEOUT: Option<Duration> = None;
    /// With [`unique_key`](TaskType::unique_key): how long after its acceptance a task excludes
    /// others with its key, even after its completion. Default: until it completes.
    const UNIQUE_FOR: Option<Duration> = None;

    /// The address in `Location` when a task of this type is started.
    const LOCATION: TaskAddress = TaskAddress::BackgroundTask;

    /// The problems that [`create`](TaskType::create) may report as impossible. The OpenAPI
    /// document lists them as responses to a POST.
    const PROBLEMS: &'static [ProblemKind] = &[];

    /// The task's key: a tenant, an account, a host … Queues that are fair or limited per key use
    /// it.
    fn key(&self) -> Option<String> {
        None
    }

    /// The task's unique key: while a task with it is open (or for
    /// [`UNIQUE_FOR`](TaskType::UNIQUE_FOR)), a POST with the same key returns that task instead of
    /// starting a second one. For "the same parameters", return
    /// [`same_parameters`](crate::same_parameters).
    fn unique_key(&self) -> Option<String> {
        None
    }

    /// Decides, inside the POST, whether the task may start: it checks permissions, validates
    /// parameters and looks up records. Returns the progress that the `202` shows. It must not
    /// change anything, because the task is not stored yet.
    ///
    /// # Errors
    /// If the task may not start. Then no task is stored.
    fn create(&self, context: &CreateContext) -> impl Future<Output = Result<Progress, CreateError>> + Send {
        let _unused = context;
        async { Ok(Progress::unknown()) }
    }

    /// Does the work, in a worker. It may run more than once for one task (at least once): after a
    /// crash it starts again, with the last saved checkpoint in its context.
    ///
    /// # Errors
    /// If the attempt failed. The retry policy decides whether another one follows.
    fn run(self, context: RunContext) -> impl Future<Output = Result<Outcome, RunError>> + Send;
}

/// An address of a task, below the API's public address. Every task answers at each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TaskAddress {
    /// `/api/backgroundtask/{id}`: `Self` in every body.
    #[default]
    BackgroundTask,
    /// `/api/{id}`.
    Api,
}

impl TaskAddress {
    /// The address of the task with this public id.
    #[must_use]
    pub fn of(self, base_url: &str, public_id: &str) -> String {
        match self {
            TaskAddress::BackgroundTask => format!("{base_url}/api/backgroundtask/{public_id}"),
            TaskAddress::Api => format!("{base_url}/api/{public_id}"),
        }
    }
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
    /// See [`TaskType::LOCATION`].
    pub location: TaskAddress,
}

/// Returns a unique key of all parameters: two tasks have the same key if their parameters are
/// equal.
#[must_use]
pub fn same_parameters<T: Serialize>(task: &T) -> Option<String> {
    // Members come in the order of the struct, so the text is canonical.
    serde_json::to_string(task).ok()
}

/// A unique key as it is stored: unique within its type. Long ones are shortened, as
/// the database's index can't hold them. `longhaul.enqueue` (SQL) makes the same.
pub(crate) fn stored_unique_key(type_name: &str, key: &str) -> String {
    if key.len() <= UNIQUE_KEY_BYTES {
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
            location: T::LOCATION,
        }
    }
}
