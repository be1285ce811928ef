//! What can be set of a worker.

use std::time::Duration;

use longhaul_model::Limits;
use longhaul_model::store::retention::Retention;

/// What the sessions of the engine's connections should be set to
/// ([`sqlx::postgres::PgConnectOptions::options`]).
///
/// A plan is made from what a table looks like, and kept. A queue is empty for hours and
/// then has a million tasks: plans from the empty hours would read and sort all of `ready`
/// at each claim, and all of `task` for each claimed task, until the next `ANALYZE`: 33 s
/// for one claim (docs/performance.md). Every statement of the engine has an index to go
/// by, so that is what the planner is told. Without `jit`, which would compile what it is
/// told to avoid where there is no other way. And with one plan a statement: what the
/// planner could learn from the values of one batch (how many ids there are) is worth less
/// than the millisecond that it takes to look.
/// PostgreSQL manual, "Planner Method Configuration" and `plan_cache_mode`.
pub const SESSION: [(&str, &str); 4] = [
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("jit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// Settings of one worker process.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Shown in `longhaul.workers`; host name and process id by default.
    pub name: String,
    /// The queues to serve; those of the registered types if empty.
    pub queues: Vec<String>,
    /// How many tasks run at once, at least 1. Default 32.
    pub slots: usize,
    /// How many claim loops share the slots, 1 to `slots`. Default 2: two keep
    /// the database busy while one waits for an answer.
    pub lanes: usize,
    /// The worker beats once in this time; others presume it dead after 1.7 of
    /// it. Default 5 s.
    pub heartbeat: Duration,
    /// How often progress is written. Default 250 ms.
    pub flush_every: Duration,
    /// How often to look for tasks when no notification comes. Default 1 s.
    pub poll_every: Duration,
    /// A task that has waited this long times its priority counts as most urgent.
    /// Default 60 s; `None` never.
    pub ageing: Option<Duration>,
    /// How long tasks may go on after the worker was told to stop, before they
    /// are asked to. Default 20 s.
    pub drain: Duration,
    /// How long a task that was asked to stop may take, before it is abandoned.
    /// Default 5 s.
    pub grace: Duration,
    /// How long ended tasks are kept. Default 7 days if they succeeded or were
    /// cancelled, 30 days if they failed. One worker at a time flushes, by its own
    /// settings; give all the same.
    pub retention: Retention,
    /// How often to look for tasks to flush. Default 60 s.
    pub retention_every: Duration,
    /// How much one task may keep: result, checkpoint, log.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: default_name(),
            queues: Vec::new(),
            slots: 32,
            lanes: 2,
            heartbeat: Duration::from_secs(5),
            flush_every: Duration::from_millis(250),
            poll_every: Duration::from_secs(1),
            ageing: Some(Duration::from_secs(60)),
            drain: Duration::from_secs(20),
            grace: Duration::from_secs(5),
            retention: Retention::default(),
            retention_every: Duration::from_secs(60),
            limits: Limits::DEFAULT,
        }
    }
}

fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "worker".to_owned());
    format!("{host}/{}", std::process::id())
}
