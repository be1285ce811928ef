//! Runs tasks: claims them, runs their handlers, writes their progress, ends
//! them behind the fence, and looks after what others left behind.
//!
//! ```no_run
//! # async fn example(pool: longhaul_model::sqlx::PgPool, registry: longhaul_model::Registry) -> Result<(), longhaul_worker::WorkerError> {
//! use longhaul_worker::{Settings, Worker};
//! let stop = longhaul_model::CancellationToken::new();
//! Worker::new(pool, registry, Settings::default()).run(stop).await
//! # }
//! ```
//!
//! One file a part: [`Worker`] starts them, a lane claims and finishes, the
//! executor runs one attempt, the flusher writes progress, the keeper beats, the
//! listener wakes, and `maintenance/` has one file a service.

mod endings;
mod ends;
mod executor;
mod flusher;
mod hands;
mod identity;
mod in_flight;
mod keeper;
mod lane;
mod listener;
mod maintenance;
mod pace;
mod settings;
mod tally;
mod worker;

pub use settings::{SESSION, Settings};
pub use worker::{Worker, WorkerError};
