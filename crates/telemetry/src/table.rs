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
    /// What it tells, without a full stop.
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
    REQUEST_SECONDS Histogram Api "http_request_seconds" ["method", "route", "status"] "Time from a request to the head of its answer";
    STORE_SECONDS Histogram Api "store_seconds" [] "Time that one group commit of new tasks took, the wait for a connection left out";
    STORED_TASKS Histogram Api "store_tasks" [] "New tasks in one group commit";

    STARTED Counter Worker "attempts_started" ["type"] "Attempts that began";
    ENDED Counter Worker "attempts_ended" ["type", "end"] "Attempts that ended, by what became of the task";
    RUN_SECONDS Histogram Worker "run_seconds" ["type"] "Time that handlers ran, an attempt";
    WAIT_SECONDS Histogram Worker "wait_seconds" ["queue"] "Time from when a task could run to its start";
    CLAIM_SECONDS Histogram Worker "claim_seconds" [] "Time that one claim took";
    CLAIMED_TASKS Histogram Worker "claim_tasks" [] "Tasks that one claim brought";
    FINISH_SECONDS Histogram Worker "finish_seconds" [] "Time that storing one batch of ends took";
    FINISHED_TASKS Histogram Worker "finish_tasks" [] "Ends in one batch";
    FLUSH_SECONDS Histogram Worker "flush_seconds" [] "Time that one flush of progress took";
    FLUSHED_TASKS Histogram Worker "flush_tasks" [] "Tasks whose progress one flush wrote";
    RUNNING Gauge Worker "worker_running" [] "Attempts that run now";
    SLOTS Gauge Worker "worker_slots" [] "Attempts that may run at once";
    LEASES_LOST Counter Worker "leases_lost" [] "Attempts whose outcome was dropped since the task is another worker's";
    PRESUMED_DEAD Counter Worker "worker_presumed_dead" [] "Times that others took this worker for dead";
    DATABASE_FAILURES Counter Worker "worker_database_failures" [] "Times that a claim or the storing of ends failed and was tried again";
    SERVICE_SECONDS Histogram Worker "maintenance_seconds" ["service"] "Time that a run of a maintenance service took";
    SERVICE_FAILURES Counter Worker "maintenance_failures" ["service"] "Runs of a maintenance service that failed";

    QUEUE_TASKS Gauge Database "queue_tasks" ["queue", "state"] "Tasks that are ready, held, scheduled or running; estimated beyond 50000 (scheduled and running: 5000)";
    OLDEST_SECONDS Gauge Database "queue_oldest_seconds" ["queue"] "For how long the oldest ready task could have run; 0 if none waits";
    QUEUE_PAUSED Gauge Database "queue_paused" ["queue"] "1 if none of its tasks begins";
    WORKERS Gauge Database "workers" ["state"] "Workers that beat in time (alive), and that did not (silent)";
    FLEET_SLOTS Gauge Database "fleet_slots" [] "Attempts that the living workers run at once";
    READ_SECONDS Gauge Database "depth_read_seconds" [] "Time that reading the numbers of this database took";
    READ_FAILURES Counter Database "depth_read_failures" [] "Times that the numbers of this database could not be read";

    LISTEN_LOST Counter Process "listen_lost" ["by"] "Times that a LISTEN connection was lost";
    POOL_CONNECTIONS Gauge Process "pool_connections" ["pool", "state"] "Connections of a pool, busy and idle";
    POOL_MAX Gauge Process "pool_max_connections" ["pool"] "Connections that a pool opens at most";
    POOL_WAIT Histogram Process "pool_wait_seconds" ["pool"] "Time that the engine waited for a connection";
    BUILD Gauge Process "build" ["version"] "1; its label is the version of the library";
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
