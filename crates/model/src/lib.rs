//! Model and storage of Longhaul: tasks, their state and progress, and all SQL on the queue.
//!
//! * [`State`] and [`Progress`] describe a task.
//! * Authors of task types implement [`TaskType`]; a [`Registry`] is the set of types of a process.
//! * [`store`] holds every statement on the queue's tables.
//!
//! The worker and API crates build on this one; neither knows a task type by
//! name.

mod attempt;
mod batch;
mod checkpoint_style;
mod clock;
pub mod connect;
mod context;
mod cron;
mod current;
mod file_kind;
mod grants;
mod handle;
pub mod hosts;
mod keyring;
mod limits;
mod log;
mod number;
mod options;
mod outcome;
mod plan;
pub mod pointer;
pub mod problem;
mod progress;
mod registry;
mod relatives;
mod report;
mod retry;
mod sealing;
mod secret;
mod socket;
mod state;
mod steps;
pub mod store;
mod task_id;
mod task_type;
mod time_left;
mod trace;
mod validate;

pub use attempt::{Attempt, StopReason};
pub use batch::Batch;
pub use clock::DatabaseClock;
pub use context::{CreateContext, Resources, RunContext};
pub use cron::{CATCH_UP, CronError, CronSchedule, Due, Missed};
pub use current::CurrentTask;
pub use file_kind::FileKind;
pub use grants::{Grants, NoPermission, Permission};
pub use handle::{ProgressHandle, StepHandle};
pub use keyring::{InvalidSecretKey, Keyring, NotOpened, SecretKey};
pub use limits::{
    ATTEMPTS, CREATED_BY_BYTES, DEEPEST, ELEMENTS_AT_MOST, ERROR_TEXT_LIMIT, KEY_BYTES, LAST_PRIORITY, Limits,
    NAME_BYTES, PARAMETERS_BYTES, RATE_SECONDS, STORED_KEY_BYTES, TAGS, TIMEOUT_SECONDS, TaskRefused, UNIQUE_KEY_BYTES,
    bounded_text, check_parameters, check_result, check_text, json_bytes,
};
pub use log::{LogHandle, LogLevel, LogLine};
pub use number::{beyond_64_bits, counted};
pub use options::TaskOptions;
pub use outcome::{CreateError, Outcome, RunError};
pub use plan::{Plan, Step};
pub use problem::{Problem, ProblemKind};
pub use progress::{MESSAGE_LIMIT, Progress, wire_fraction};
pub use registry::{Entry, Keys, Parameters, Registry, UnknownTaskType};
pub use report::{Report, ReportLink};
pub use retry::RetryPolicy;
pub use sealing::Holder;
pub use secret::{REDACTED, Secret, redacted};
pub use state::State;
pub use steps::{DEEPEST_STEP, StepState};
pub use task_id::{PublicId, split_public_id};
pub use task_type::{DEFAULT_PRIORITY, TaskAddress, TaskType, TaskTypeInfo, same_parameters};
pub use time_left::TimeLeft;
pub use trace::TraceContext;
pub use validate::{ParameterError, Shape, X_EXPECTED, closed, has_nul};

// The crates whose types stand in our signatures, for authors of task types.
pub use {chrono, schemars, serde, serde_json, sqlx, tokio_util::sync::CancellationToken, uuid};
