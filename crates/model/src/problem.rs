//! Problems, as clients see them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of problem: one row of the table of error codes. Every crate that
/// makes problems lists its kinds in a `KINDS` constant, from which
/// `docs/errors.md` is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemKind {
    /// The machine-readable name, in kebab case; never reused for another
    /// meaning.
    pub code: &'static str,
    /// A short summary, the same for every problem of this kind.
    pub title: &'static str,
    /// The HTTP status of an answer with this problem, or the one it would have.
    pub status: u16,
}

/// Why a request, an attempt or a task failed: an RFC 9457 problem object, as
/// it is stored in the task row and shown as `Error`. Nothing internal (SQL,
/// paths, stack) belongs in it; the log has that, tied by the task id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ProblemDetails")]
pub struct Problem {
    /// A stable identifier: `urn:longhaul:problem:{code}`.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// A short summary, the same for every problem of this code.
    pub title: String,
    /// The HTTP status that such a failure has in an answer.
    pub status: u16,
    /// What to change in this case.
    pub detail: String,
    /// The machine-readable kind, in kebab case.
    pub code: String,
    /// The address at which the API's documentation explains the code. Of an answer; it is
    /// not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub help: Option<String>,
}

impl Problem {
    /// A problem of this kind; `detail` explains what to change in this case.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            type_uri: format!("urn:longhaul:problem:{}", kind.code),
            title: kind.title.to_owned(),
            status: kind.status,
            detail: detail.into(),
            code: kind.code.to_owned(),
            help: None,
        }
    }
}

/// The handler returned an error.
pub const ATTEMPT_FAILED: ProblemKind =
    ProblemKind { code: "attempt-failed", title: "The attempt failed", status: 500 };
/// The handler panicked.
pub const ATTEMPT_PANICKED: ProblemKind =
    ProblemKind { code: "attempt-panicked", title: "The handler panicked", status: 500 };
/// No process that works this queue knows the task's type, or its parameters
/// no longer fit.
pub const NOT_RUNNABLE: ProblemKind =
    ProblemKind { code: "not-runnable", title: "The task can't be run by this worker", status: 500 };

/// Something secret can't be stored, because the host has no key to seal it with.
pub const NO_SECRET_KEY: ProblemKind =
    ProblemKind { code: "no-secret-key", title: "This host has no secret key", status: 500 };
/// The worker died or lost its lease, on every attempt the task has.
pub const WORKER_LOST: ProblemKind = ProblemKind { code: "worker-lost", title: "The worker was lost", status: 500 };

/// The task's workers died while they ran it, [`crate::store::rescue::POISON`] times.
pub const POISON_TASK: ProblemKind =
    ProblemKind { code: "poison-task", title: "The task kills its workers", status: 500 };
/// The attempt took longer than its task or its type allows.
pub const ATTEMPT_TIMED_OUT: ProblemKind =
    ProblemKind { code: "attempt-timed-out", title: "The attempt took too long", status: 500 };
/// The handler returned more than a task may keep ([`crate::Limits`]).
pub const RESULT_TOO_LARGE: ProblemKind =
    ProblemKind { code: "result-too-large", title: "The result is too large", status: 500 };
/// The handler saved a checkpoint of more than a task may keep.
pub const CHECKPOINT_TOO_LARGE: ProblemKind =
    ProblemKind { code: "checkpoint-too-large", title: "The checkpoint is too large", status: 500 };
/// What the handler returned or saved is nothing that the database can hold.
pub const NOT_STORABLE: ProblemKind =
    ProblemKind { code: "not-storable", title: "The outcome can't be stored", status: 500 };

/// A task that it waited for failed or was cancelled, and it was not to run then.
pub const DEPENDENCY_FAILED: ProblemKind =
    ProblemKind { code: "dependency-failed", title: "A task that it waited for did not succeed", status: 500 };
/// Tasks of a batch failed or were cancelled.
pub const CHILDREN_FAILED: ProblemKind =
    ProblemKind { code: "children-failed", title: "Tasks of the batch did not succeed", status: 500 };

/// The problems that the engine itself makes.
pub const KINDS: &[ProblemKind] = &[
    ATTEMPT_FAILED,
    ATTEMPT_PANICKED,
    NOT_RUNNABLE,
    WORKER_LOST,
    POISON_TASK,
    ATTEMPT_TIMED_OUT,
    RESULT_TOO_LARGE,
    CHECKPOINT_TOO_LARGE,
    NOT_STORABLE,
    DEPENDENCY_FAILED,
    CHILDREN_FAILED,
];
