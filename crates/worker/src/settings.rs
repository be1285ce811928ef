//! The settings of a worker.

use std::time::Duration;

use longhaul_model::Limits;
use longhaul_model::store::retention::Retention;

/// The session settings of the engine's connections
/// ([`sqlx::postgres::PgConnectOptions::options`]).
///
/// A plan is made from what a table looks like, and kept. A queue is empty for hours and
/// then has a million tasks: plans from the empty hours would read and sort all of `ready`
/// at each claim, and all of `task` for each claimed task, until the next `ANALYZE`: 33 s
/// for one claim (docs/adr/0008-performance-history.md). Every statement of the engine has an index to go
/// by, so that is what the planner is told. Without `jit`, which would compile what it is
/// told to avoid where there is no other way. And with one plan a statement: what the
/// planner could learn from the values of one batch (how many ids there are) is worth less
/// than the millisecond that it takes to look.
/// PostgreSQL manual, "Planner Method Configuration" and `plan_cache_mode`.
///
/// And the isolation that the statements are written for, whatever the role's default is: at
/// a higher one they would fail where they now wait for each other.
///
/// The timeouts of the role or the database do not reach the engine: a statement that waits
/// for a lock is ended after 2 s, so that the lane stores the ends of other tasks meanwhile,
/// and any other one before a service gives its connection up
/// ([`longhaul_model::store::SERVICE_DEADLINE`]).
pub const SESSION: [(&str, &str); 8] = [
    ("default_transaction_isolation", "read committed"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("jit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    ("lock_timeout", "2s"),
    ("statement_timeout", "55s"),
    ("idle_in_transaction_session_timeout", "60s"),
];

/// Settings of one worker process.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The worker's name in `longhaul.workers`. Default: host name and process id.
    pub name: String,
    /// The queues to serve. Default: those of the registered types.
    pub queues: Vec<String>,
    /// Maximum number of tasks that run at once, at least 1. Default 32.
    pub slots: usize,
    /// Database connections shared by handlers, at least 2. A handler that needs one while all are
    /// busy waits for up to a minute, without spending an attempt. Default (`None`): one per slot,
    /// at most 32. Ignored if the worker has a separate pool for handlers
    /// ([`Worker::with_handler_pool`](crate::Worker::with_handler_pool)).
    pub handler_connections: Option<usize>,
    /// Number of lanes that share the slots, 1 to `slots`. Default 2: one lane works while the
    /// other waits for the database.
    pub lanes: usize,
    /// The heartbeat interval. Other workers presume the worker dead after 1.7 intervals without a
    /// heartbeat. Default 5 s.
    pub heartbeat: Duration,
    /// How often progress is written. Default 250 ms.
    pub flush_every: Duration,
    /// How often to look for tasks when no notification comes. Default 1 s.
    pub poll_every: Duration,
    /// Ageing: a task that has waited this long times its priority counts as priority 0. Default 60
    /// s; `None` disables ageing.
    pub ageing: Option<Duration>,
    /// How long tasks may keep running after the worker was asked to stop, before they are asked to
    /// stop. Default 20 s.
    pub drain: Duration,
    /// How long a task that was asked to stop may take before it is abandoned. Default 5 s.
    pub grace: Duration,
    /// How long completed tasks are kept. Default: 7 days if they succeeded or were cancelled, 30
    /// days if they failed. One worker at a time deletes them, by its own settings, so give all
    /// workers the same.
    pub retention: Retention,
    /// How often to delete tasks whose retention period is over. Default 60 s.
    pub retention_every: Duration,
    /// Limits of one task's result, checkpoint and log.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: default_name(),
            queues: Vec::new(),
            slots: 32,
            handler_connections: None,
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

impl Settings {
    /// How many connections handlers share.
    #[must_use]
    pub fn shared_connections(&self) -> usize {
        self.handler_connections.unwrap_or_else(|| self.slots.min(32)).max(2)
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
