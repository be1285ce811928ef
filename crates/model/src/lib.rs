//! Vocabulary and storage of Longhaul: what a task is, how far it is, who holds
//! it, and the only SQL that touches the queue.
//!
//! * [`State`] is the life of a task, [`Progress`] how far it is.
//! * [`TaskType`] is what an author of task types implements, [`Registry`] the
//!   set of types that a process knows.
//! * [`store`] holds every statement on the queue's tables.
//!
//! The worker and API crates build on this one; neither knows a task type by
//! name.

mod attempt;
mod batch;
mod clock;
mod context;
mod cron;
mod current;
mod grants;
mod handle;
mod keyring;
mod limits;
mod log;
mod outcome;
mod plan;
pub mod problem;
mod progress;
mod registry;
mod relatives;
mod report;
mod retry;
mod secret;
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
pub use grants::{Grants, NoPermission, Permission};
pub use handle::{ProgressHandle, StepHandle};
pub use keyring::{InvalidSecretKey, Keyring, NotOpened, SecretKey};
pub use limits::{ERROR_TEXT_LIMIT, Limits, bounded_text, check_result};
pub use log::{LogHandle, LogLevel, LogLine};
pub use outcome::{CreateError, Outcome, RunError};
pub use plan::{Plan, Step};
pub use problem::{Problem, ProblemKind};
pub use progress::{MESSAGE_LIMIT, Progress, wire_fraction};
pub use registry::{Entry, Keys, Registry, UnknownTaskType};
pub use report::{Report, ReportLink};
pub use retry::RetryPolicy;
pub use secret::{REDACTED, Secret, redacted};
pub use state::State;
pub use steps::{DEEPEST_STEP, StepState};
pub use task_id::{PublicId, split_public_id};
pub use task_type::{DEFAULT_PRIORITY, TaskType, TaskTypeInfo, same_parameters};
pub use time_left::TimeLeft;
pub use trace::TraceContext;
pub use validate::{ParameterError, Shape, escape, has_nul};

// The crates whose types stand in our signatures, for authors of task types.
pub use {chrono, schemars, serde, serde_json, sqlx, tokio_util::sync::CancellationToken, uuid};
