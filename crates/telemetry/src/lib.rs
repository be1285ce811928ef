//! What a process tells of itself: metrics for Prometheus.
//!
//! [`table`] lists every metric; [`Metrics`] has the instruments, and shows them in
//! the text form that a scrape asks for.

mod api;
mod database;
mod exposition;
mod metrics;
mod pool;
pub mod table;
mod worker;

pub use api::ApiMetrics;
pub use exposition::Exposition;
pub use metrics::Metrics;
pub use prometheus_client::metrics::histogram::Histogram;
pub use worker::{AttemptsOfType, End, WorkerMetrics};
