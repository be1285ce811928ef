//! `longhaul work`

use std::time::Duration;

use clap::Args;
use longhaul_model::Limits;
use longhaul_model::store::retention::Retention;
use longhaul_worker::Settings;

use crate::database_args::DatabaseArgs;
use crate::host::{Host, stop_signal};
use crate::logging::LogArgs;
use crate::metrics::MetricsArgs;

/// Runs a worker until SIGTERM or Ctrl-C; it then drains.
#[derive(Debug, Args)]
pub(crate) struct Work {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    pub(super) worker: WorkerArgs,
    #[command(flatten)]
    metrics: MetricsArgs,
    #[command(flatten)]
    pub(super) log: LogArgs,
}

/// The settings of a worker.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerArgs {
    /// The worker's name in `longhaul.workers`. Default: host name and process id.
    #[arg(long, env = "LONGHAUL_WORKER_NAME")]
    name: Option<String>,
    /// A queue to serve. May be repeated. All queues by default.
    #[arg(long = "queue", env = "LONGHAUL_QUEUES", value_delimiter = ',')]
    queues: Vec<String>,
    /// Maximum number of tasks that run at once in this worker.
    #[arg(long, env = "LONGHAUL_SLOTS", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    slots: u16,
    /// Database connections shared by handlers. Default: one per slot, at most 32.
    #[arg(long, env = "LONGHAUL_HANDLER_CONNECTIONS", value_parser = clap::value_parser!(u16).range(2..))]
    handler_connections: Option<u16>,
    /// Seconds between heartbeats. A worker is presumed dead after 1.7 times this period without one.
    #[arg(long, env = "LONGHAUL_HEARTBEAT", default_value_t = 5.0, value_parser = heartbeat)]
    heartbeat: f64,
    /// Seconds that tasks may keep running after SIGTERM before they are asked to stop.
    #[arg(long, env = "LONGHAUL_DRAIN", default_value_t = 20)]
    drain: u64,
    /// Days to keep succeeded tasks.
    #[arg(long, env = "LONGHAUL_KEEP_SUCCEEDED", default_value_t = 7.0, value_parser = days)]
    keep_succeeded: f64,
    /// Days to keep cancelled tasks.
    #[arg(long, env = "LONGHAUL_KEEP_CANCELLED", default_value_t = 7.0, value_parser = days)]
    keep_cancelled: f64,
    /// Days to keep failed tasks.
    #[arg(long, env = "LONGHAUL_KEEP_FAILED", default_value_t = 30.0, value_parser = days)]
    keep_failed: f64,
    /// Days to keep audit entries, at least 1.
    #[arg(long, env = "LONGHAUL_KEEP_AUDIT", default_value_t = 365.0, value_parser = days)]
    keep_audit: f64,
    /// Maximum size of a task's result in bytes. A larger result fails the task.
    #[arg(long, env = "LONGHAUL_RESULT_LIMIT", default_value_t = 1024 * 1024, value_parser = bytes)]
    result_limit: usize,
    /// Maximum size of a task's checkpoint in bytes. A larger checkpoint fails the attempt.
    #[arg(long, env = "LONGHAUL_CHECKPOINT_LIMIT", default_value_t = 1024 * 1024, value_parser = bytes)]
    checkpoint_limit: usize,
    /// Maximum number of lines per task log. The oldest lines are dropped.
    #[arg(long, env = "LONGHAUL_LOG_LINES", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    log_lines: u32,
    /// Events that handlers log with `tracing` to copy to the task's log, e.g. my_tasks=info.
    #[arg(long, env = "LONGHAUL_TASK_LOG", value_name = "FILTER", value_parser = crate::logging::filter)]
    pub(super) task_log: Option<String>,
}

fn heartbeat(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.1 to 600 is expected".to_owned()),
    }
}

fn days(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(days) if (0.0..=36_500.0).contains(&days) => Ok(days),
        _ => Err("a number of days from 0 to 36500 is expected; 0.5 is twelve hours".to_owned()),
    }
}

/// The most that makes sense in one row.
const MOST_BYTES: usize = 64 * 1024 * 1024;

fn bytes(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(bytes) if (16..=MOST_BYTES).contains(&bytes) => Ok(bytes),
        _ => Err(format!("a number of bytes from 16 to {MOST_BYTES} is expected")),
    }
}

impl WorkerArgs {
    pub(crate) fn settings(self) -> Settings {
        let defaults = Settings::default();
        let kept = |days: f64| Duration::from_secs_f64(days * 24.0 * 3600.0);
        Settings {
            name: self.name.unwrap_or(defaults.name),
            queues: self.queues,
            slots: usize::from(self.slots),
            handler_connections: self.handler_connections.map(usize::from),
            heartbeat: Duration::from_secs_f64(self.heartbeat),
            drain: Duration::from_secs(self.drain),
            retention: Retention {
                succeeded: kept(self.keep_succeeded),
                cancelled: kept(self.keep_cancelled),
                failed: kept(self.keep_failed),
                audit: kept(self.keep_audit),
            },
            limits: Limits {
                result_bytes: self.result_limit,
                checkpoint_bytes: self.checkpoint_limit,
                log_lines: self.log_lines,
                ..Limits::DEFAULT
            },
            ..Settings::default()
        }
    }
}

impl Work {
    pub(crate) async fn run(self, host: Host) -> anyhow::Result<()> {
        let stop = stop_signal()?;
        self.metrics.serve(host.metrics().clone(), stop.clone())?;
        let (host, url) = self.database.apply(host);
        host.work(&url, self.worker.settings(), stop).await
    }
}
