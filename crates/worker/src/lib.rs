//! The worker: it claims tasks, runs their handlers, writes their progress, stores their outcomes
//! behind the fence, and runs the maintenance services.
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
//! listener wakes, idle locks say when the listener must be notified, and `maintenance/` has one file a service.

mod beat_try;
mod executor;
mod finish_buffer;
mod flusher;
mod gates;
mod identity;
mod idle;
mod idle_locks;
mod in_flight;
mod keeper;
mod lane;
mod lane_failures;
mod leases;
mod listener;
mod maintenance;
mod outcome_counters;
mod pace;
mod settings;
mod shared;
mod slots;
mod tally;
mod worker;

pub use settings::{SESSION, Settings};
pub use worker::{Worker, WorkerError};
