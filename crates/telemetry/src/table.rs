//! Every metric, in one table: the code registers by it, docs/metrics.md repeats it,
//! dashboards and alert rules may name nothing else.

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It grows; in text its name ends in `_total`.
    Counter,
    /// It is what it is now.
    Gauge,
    /// How many observations were at most so much: `_bucket`, `_sum`, `_count`.
    Histogram,
}

/// Which process shows a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Processes with the HTTP API.
    Api,
    /// Processes with a worker.
    Worker,
    /// Read from the database, the same in every process: take the `max`.
    Database,
    /// Every process.
    Process,
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Without the `_total` of a counter.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Who shows it.
    pub source: Source,
    /// Its labels. Each takes few values: registered task types, at most
    /// [`MOST_QUEUES`] queues, route patterns; never an id.
    pub labels: &'static [&'static str],
    /// Its help text, without a full stop.
    pub help: &'static str,
}

/// Queues that have a series of their own; those that come later share `other`.
pub const MOST_QUEUES: usize = 100;
/// The label of what has no series of its own.
pub const OTHER: &str = "other";

macro_rules! metrics {
    ($($constant:ident $kind:ident $source:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric = Metric {
                name: concat!("longhaul_", $name),
                kind: Kind::$kind,
                source: Source::$source,
                labels: &[$($label),*],
                help: $help,
            };
        )*
        /// All of them.
        pub const METRICS: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    ACCEPTED Counter Api "tasks_accepted" ["type"] "Tasks that this process stored for HTTP clients";
    REFUSED_BY_QUEUE Counter Api "queue_full_refusals" ["queue"] "Requests that this process refused because their queue was full";
    REQUEST_SECONDS Histogram Api "http_request_seconds" ["method", "route", "status"] "Time from a request to the head of its response";
    STORE_SECONDS Histogram Api "store_seconds" [] "Duration of one group commit of new tasks, without the wait for a connection";
    STORED_TASKS Histogram Api "store_tasks" [] "New tasks in one group commit";

    STARTED Counter Worker "attempts_started" ["type"] "Attempts that started";
    ENDED Counter Worker "attempts_ended" ["type", "end"] "Attempts that ended, by outcome";
    RUN_SECONDS Histogram Worker "run_seconds" ["type"] "Run time of handlers, per attempt";
    WAIT_SECONDS Histogram Worker "wait_seconds" ["queue"] "Time from when a task was ready to its start";
    CLAIM_SECONDS Histogram Worker "claim_seconds" [] "Duration of one claim";
    CLAIMED_TASKS Histogram Worker "claim_tasks" [] "Tasks per claim";
    FINISH_SECONDS Histogram Worker "finish_seconds" [] "Duration of storing one batch of completions";
    FINISHED_TASKS Histogram Worker "finish_tasks" [] "Completions per batch";
    FLUSH_SECONDS Histogram Worker "flush_seconds" [] "Duration of one flush of progress";
    FLUSHED_TASKS Histogram Worker "flush_tasks" [] "Tasks per flush";
    RUNNING Gauge Worker "worker_running" [] "Attempts that are running";
    SLOTS Gauge Worker "worker_slots" [] "Slots of this worker";
    LEASES_LOST Counter Worker "leases_lost" [] "Attempts whose outcome was dropped because the worker had lost the lease";
    PRESUMED_DEAD Counter Worker "worker_presumed_dead" [] "Times this worker was presumed dead";
    REPAIRED_TASKS Counter Worker "repaired_tasks" [] "Stranded tasks that were returned to the queue; each is a defect of Longhaul";
    DATABASE_FAILURES Counter Worker "worker_database_failures" [] "Failed claims and completion writes that were retried";
    SERVICE_SECONDS Histogram Worker "maintenance_seconds" ["service"] "Duration of one run of a maintenance service";
    SERVICE_FAILURES Counter Worker "maintenance_failures" ["service"] "Failed runs of a maintenance service";
    SERVICE_FAILING Gauge Worker "maintenance_failing" ["service"] "Failed runs of a maintenance service since its last successful run";
    DATABASE_FAILING Gauge Worker "worker_database_failing" [] "Consecutive failed claims and completion writes, in the lane with the most";

    QUEUE_TASKS Gauge Database "queue_tasks" ["queue", "state"] "Tasks that are ready, held, scheduled or running; estimated beyond 50000 (scheduled and running: 5000)";
    OLDEST_SECONDS Gauge Database "queue_oldest_seconds" ["queue"] "Age of the oldest ready task; 0 if none waits";
    QUEUE_PAUSED Gauge Database "queue_paused" ["queue"] "1 if the queue is paused";
    QUEUE_UNSERVED Gauge Database "queue_unserved" ["queue"] "1 if the queue has ready tasks and no live worker serves it";
    OVERDUE_SECONDS Gauge Database "scheduled_overdue_seconds" [] "How long the first due task has waited to become ready; 0 if none does";
    ABANDONED Gauge Database "abandoned_tasks" [] "Tasks in leases of dead workers that no worker has rescued";
    TROUBLES Gauge Database "failing_services" [] "Services and lanes of live workers that fail repeatedly";
    WORKERS Gauge Database "workers" ["state"] "Workers with a heartbeat in time (alive) and without (silent)";
    FLEET_SLOTS Gauge Database "fleet_slots" [] "Total slots of live workers";
    READ_SECONDS Gauge Database "depth_read_seconds" [] "Duration of reading these metrics from the database";
    READ_FAILURES Counter Database "depth_read_failures" [] "Failed reads of these metrics";

    LISTEN_LOST Counter Process "listen_lost" ["by"] "Lost LISTEN connections";
    POOL_CONNECTIONS Gauge Process "pool_connections" ["pool", "state"] "Connections of a pool, busy and idle";
    POOL_MAX Gauge Process "pool_max_connections" ["pool"] "Maximum number of connections of a pool";
    POOL_WAIT Histogram Process "pool_wait_seconds" ["pool"] "Time that the engine waited for a connection";
    BUILD Gauge Process "build" ["version"] "Always 1; the label has the version of the library";
}

impl Metric {
    /// The names of its series in text.
    #[must_use]
    pub fn series(&self) -> Vec<String> {
        match self.kind {
            Kind::Counter => vec![format!("{}_total", self.name)],
            Kind::Gauge => vec![self.name.to_owned()],
            Kind::Histogram => ["bucket", "sum", "count"].iter().map(|part| format!("{}_{part}", self.name)).collect(),
        }
    }
}
