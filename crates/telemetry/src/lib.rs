//! Telemetry of a process: metrics for Prometheus, spans for OpenTelemetry.
//!
//! [`table`] lists every metric; [`Metrics`] has the instruments, and shows them in
//! the text form that a scrape asks for; [`Vitals`] know whether the process is ready and
//! its loops go round. [`Span`]s carry a trace from the request that
//! starts a task through its row to its handler and on; they are recorded if
//! [`Export`] sends them to a collector.

mod api;
mod database;
mod export;
mod exposition;
mod instrument;
mod metrics;
mod pool;
pub mod table;
mod trace;
mod vitals;
mod worker;

pub use api::ApiMetrics;
pub use export::{Export, ExportError, Sampling, TraceSettings};
pub use exposition::Exposition;
pub use metrics::Metrics;
pub use prometheus_client::metrics::histogram::Histogram;
pub use trace::Span;
pub use vitals::{Pulse, Vitals};
pub use worker::{AttemptsOfType, End, WorkerMetrics};
