//! Durable background tasks on PostgreSQL that always tell you how far they are.
//!
//! Write a [`TaskType`], register it, and [`Program`] makes a program of it: HTTP
//! API, worker, migrations, and a private PostgreSQL for development.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use longhaul::schemars::JsonSchema;
//! use longhaul::serde::{Deserialize, Serialize};
//! use longhaul::{Outcome, Program, Registry, RunContext, RunError, TaskType};
//!
//! /// Greets someone.
//! #[derive(Serialize, Deserialize, JsonSchema)]
//! #[serde(crate = "longhaul::serde", rename_all = "PascalCase", deny_unknown_fields)]
//! #[schemars(crate = "longhaul::schemars")]
//! struct Greet {
//!     #[schemars(length(min = 1, max = 100))]
//!     name: String,
//! }
//!
//! impl TaskType for Greet {
//!     const NAME: &'static str = "Greet";
//!     const ID_PREFIX: &'static str = "greet_";
//!
//!     async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
//!         Outcome::with_result(format!("Hello, {}!", self.name))
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     Program::new(Registry::new().with::<Greet>()).main()
//! }
//! ```
//!
//! * [`TaskType`] is what you implement, [`RunContext`] what your code is given.
//! * [`Program`] is the whole command line; [`Host`] its parts, for a program that
//!   has a command line of its own.
//! * [`store`] puts tasks into the queue inside your own transactions, and reads
//!   them; [`http`] is for routes of your own; [`queue_task`] has the task types
//!   that every program has.
//!
//! `docs/embedding.md` is the five-minute path.

mod access;
mod command;
mod config;
mod database;
mod exit;
mod host;
pub mod http;
mod limits;
mod logging;
mod metrics;
mod oidc;
mod program;
pub mod queue_task;
mod remote;
mod secret;
pub mod store;
mod table;
mod task_log;
mod traces;
#[cfg(feature = "webhooks")]
pub mod webhook;

pub use access::{AccessSettings, ServerSecret};
pub use database::{connect, connect_engine};
pub use host::{Host, Listening, stop_signal};
pub use limits::LimitSettings;
pub use logging::log_to_stderr;
pub use longhaul_model::{
    CreateContext, CreateError, CronSchedule, DEFAULT_PRIORITY, DatabaseClock, Keyring, Limits, LogHandle, LogLevel,
    Outcome, ParameterError, Plan, Problem, ProblemKind, Progress, ProgressHandle, PublicId, Registry, Report,
    ReportLink, Resources, RetryPolicy, RunContext, RunError, Secret, SecretKey, State, Step, StepHandle, StopReason,
    TaskType, TaskTypeInfo, same_parameters, split_public_id,
};
pub use longhaul_telemetry as telemetry;
pub use longhaul_worker::Settings;
pub use oidc::OidcSettings;
pub use program::Program;
pub use task_log::TaskLog;

// The crates whose types stand in our signatures: an author of task types needs no
// other dependency.
pub use longhaul_model::{CancellationToken, chrono, schemars, serde, serde_json, sqlx, uuid};
pub use {actix_web, anyhow, clap};

/// Computes something that takes longer than a moment, without holding up other
/// tasks: on a thread of its own. It can't be stopped half way, so divide long work
/// into parts, and look at [`RunContext::cancellation`] between them.
///
/// # Errors
/// When the computation panics: the attempt has failed then, as if the handler itself
/// had panicked.
pub async fn blocking<T: Send + 'static>(compute: impl FnOnce() -> T + Send + 'static) -> Result<T, RunError> {
    match tokio::task::spawn_blocking(compute).await {
        Ok(computed) => Ok(computed),
        Err(error) => Err(RunError::panicked(error.to_string())),
    }
}
