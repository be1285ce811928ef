//! Durable background tasks on PostgreSQL with live, accurate progress.
//!
//! Write a [`TaskType`] and register it. [`Program`] turns it into a program with an HTTP API, a
//! worker, migrations, and a private PostgreSQL for development.
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
//! * You implement [`TaskType`]; your code receives a [`RunContext`].
//! * [`Program`] is the whole command line. [`Host`] has its parts, for a program with its own
//!   command line.
//! * [`Client`] stores tasks, alone or in your own transactions, and reads them. [`store`] has the
//!   statements below it. [`http`] is for your own
//!   routes. [`queue_task`] has the task types of every program.
//!
//! `docs/embedding.md` is the five-minute path.

#[macro_use]
mod output;

mod access;
mod client;
mod command;
mod config;
mod database;
mod database_args;
mod exit;
mod host;
pub mod http;
mod limits;
mod logging;
mod metrics;
mod nearest;
mod oidc;
mod program;
pub mod queue_task;
mod remote;
mod secret;
pub mod store;
mod supervisor;
mod table;
mod task_log;
mod traces;
mod visible;
mod waiting;
#[cfg(feature = "webhooks")]
pub mod webhook;

pub use access::{AccessSettings, ServerSecret};
pub use client::{Client, ClientError, Enqueued};
pub use database::{connect, connect_engine};
pub use host::{Host, Listening, stop_signal};
pub use limits::LimitSettings;
pub use logging::log_to_stderr;
pub use longhaul_model::{
    CreateContext, CreateError, CronSchedule, DEFAULT_PRIORITY, DatabaseClock, Keyring, Limits, LogHandle, LogLevel,
    Outcome, ParameterError, Plan, Problem, ProblemKind, Progress, ProgressHandle, PublicId, Registry, Report,
    ReportLink, Resources, RetryPolicy, RunContext, RunError, Secret, SecretKey, State, Step, StepHandle, StopReason,
    TaskAddress, TaskOptions, TaskType, TaskTypeInfo, same_parameters, split_public_id,
};
pub use longhaul_telemetry as telemetry;
pub use longhaul_worker::Settings;
pub use oidc::OidcSettings;
pub use program::Program;
pub use task_log::TaskLog;

// The crates whose types stand in our signatures: an author of task types needs no
// other dependency.
pub use longhaul_model::store::depth::QueueDepth;
pub use longhaul_model::{CancellationToken, chrono, schemars, serde, serde_json, sqlx, uuid};
pub use {actix_web, anyhow, clap, tokio};

/// Runs a long computation on its own thread, so that it does not delay other tasks. The
/// computation can't be stopped half way, so divide long work into parts, and check
/// [`RunContext::cancellation`] between them.
///
/// # Errors
/// If the computation panics. The attempt then fails as if the handler itself had panicked.
pub async fn blocking<T: Send + 'static>(compute: impl FnOnce() -> T + Send + 'static) -> Result<T, RunError> {
    match tokio::task::spawn_blocking(compute).await {
        Ok(computed) => Ok(computed),
        Err(error) => Err(RunError::panicked(error.to_string())),
    }
}
