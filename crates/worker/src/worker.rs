//! Starts and stops the parts of a worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_model::store::{task_type, worker as store};
use longhaul_model::{DatabaseClock, Registry, Resources, StopReason};
use longhaul_telemetry::Metrics;
use sqlx::PgPool;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::executor::Executor;
use crate::gates::Gates;
use crate::identity::Identity;
use crate::idle::Idle;
use crate::in_flight::InFlight;
use crate::lane::Lane;
use crate::lane_failures::LaneFailures;
use crate::maintenance::{
    self, Bookkeeper, Canceller, Counter, Follower, Gatekeeper, Promoter, Repairer, Rescuer, Retainer, Sampler,
    Scheduler,
};
use crate::shared::Shared;
use crate::{Settings, flusher, idle_locks, keeper, listener};

/// A worker process.
pub struct Worker {
    engine_pool: PgPool,
    handler_pool: PgPool,
    listen_pool: PgPool,
    registry: Registry,
    resources: Arc<Resources>,
    settings: Settings,
    metrics: Metrics,
}

/// Why a worker could not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The database refused the worker's registration.
    #[error("the worker could not register with the database")]
    Register(#[from] sqlx::Error),
    /// The worker has no queue.
    #[error("a worker needs at least one queue: register a task type or name queues")]
    NoQueues,
}

impl Worker {
    /// Creates a worker whose engine and handlers share one pool. The pool should have a few more
    /// connections than lanes and slots that use the database, and sessions with
    /// [`SESSION`](crate::SESSION). Better give handlers a separate pool.
    #[must_use]
    pub fn new(pool: PgPool, registry: Registry, settings: Settings) -> Self {
        Self {
            engine_pool: pool.clone(),
            handler_pool: pool.clone(),
            listen_pool: pool,
            registry,
            resources: Arc::default(),
            settings,
            metrics: Metrics::new(),
        }
    }

    /// Gives handlers a separate pool, so that the engine never waits for their connections.
    #[must_use]
    pub fn with_handler_pool(mut self, pool: PgPool) -> Self {
        self.handler_pool = pool;
        self
    }

    /// Sets the pool of the listening connection. Behind a pooler in transaction mode, which does
    /// not support LISTEN, it must bypass the pooler.
    #[must_use]
    pub fn with_listen_pool(mut self, pool: PgPool) -> Self {
        self.listen_pool = pool;
        self
    }

    /// Sets the resources of task types.
    #[must_use]
    pub fn with_resources(mut self, resources: Arc<Resources>) -> Self {
        self.resources = resources;
        self
    }

    /// Sets the instruments of this process, which its other parts may share.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Runs until `stop` is cancelled, then drains: tasks that have not started go back to the
    /// queue at once. Running tasks may continue for the drain time and are then asked to stop. A
    /// task that stops within the grace time goes back to the queue without spending an attempt;
    /// other tasks are abandoned, and the next worker rescues them.
    ///
    /// # Errors
    /// If the worker can't register. It waits while the database fails later.
    pub async fn run(self, stop: CancellationToken) -> Result<(), WorkerError> {
        let queues =
            if self.settings.queues.is_empty() { self.registry.queues() } else { self.settings.queues.clone() };
        if queues.is_empty() {
            return Err(WorkerError::NoQueues);
        }
        let slots = self.settings.slots.max(1);
        let lanes = self.settings.lanes.clamp(1, slots);
        let info = store::WorkerInfo {
            name: self.settings.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            queues: queues.clone(),
            slots,
            heartbeat: self.settings.heartbeat,
        };
        task_type::register(&self.engine_pool, &self.registry).await?;
        let registered = Instant::now();
        let worker_id = store::register(&self.engine_pool, &info).await?;
        tracing::info!(worker_id, name = info.name, ?queues, slots, lanes, "worker started");

        let clock = DatabaseClock::learn(&self.engine_pool).await?;
        self.metrics.worker().set_slots(slots);
        self.metrics.watch_pool("engine", &self.engine_pool);
        self.metrics.watch_pool("handlers", &self.handler_pool);
        self.metrics.watch_database(&self.engine_pool);
        let shared = Arc::new(Shared {
            metrics: self.metrics,
            lane_failures: LaneFailures::of(lanes),
            clock: Arc::new(clock),
            pool: self.engine_pool.clone(),
            identity: Identity::new(worker_id),
            executor: Executor {
                registry: self.registry,
                engine_pool: self.engine_pool.clone(),
                pool: self.handler_pool,
                resources: self.resources,
                grace: self.settings.grace,
            },
            in_flight: InFlight::default(),
            leases: Arc::default(),
            outcome_counters: Arc::default(),
            poll_every: self.settings.poll_every,
            ageing: self.settings.ageing,
            limits: self.settings.limits,
            flushing: Mutex::default(),
            stopping: stop.clone(),
            wake: Notify::new(),
            followed: Notify::new(),
            gates: Gates::default(),
            idle: Idle::default(),
        });

        // Helpers go on until the lanes are done.
        let helpers_stop = CancellationToken::new();
        let mut helpers = JoinSet::new();
        helpers.spawn(keeper::run(Arc::clone(&shared), info, registered, helpers_stop.clone()));
        helpers.spawn(flusher::run(Arc::clone(&shared), self.settings.flush_every, helpers_stop.clone()));
        helpers.spawn(idle_locks::run(
            Arc::clone(&shared),
            self.listen_pool.clone(),
            queues.clone(),
            // A worker that drains needs no notification.
            stop.clone(),
        ));
        helpers.spawn(listener::run(Arc::clone(&shared), self.listen_pool, queues.clone(), helpers_stop.clone()));
        helpers.spawn(maintenance::run(
            Rescuer { heartbeat: self.settings.heartbeat },
            Arc::clone(&shared),
            helpers_stop.clone(),
        ));
        helpers.spawn(maintenance::run(Promoter, Arc::clone(&shared), helpers_stop.clone()));
        helpers.spawn(maintenance::run(Canceller, Arc::clone(&shared), helpers_stop.clone()));
        helpers.spawn(maintenance::run(Gatekeeper::default(), Arc::clone(&shared), helpers_stop.clone()));
        helpers.spawn(maintenance::run(Follower::default(), Arc::clone(&shared), helpers_stop.clone()));
        helpers.spawn(maintenance::run(Repairer, Arc::clone(&shared), helpers_stop.clone()));
        helpers.spawn(maintenance::run(Scheduler, Arc::clone(&shared), helpers_stop.clone()));
        helpers.spawn(maintenance::run(Counter::default(), Arc::clone(&shared), helpers_stop.clone()));
        helpers.spawn(maintenance::run(Sampler, Arc::clone(&shared), helpers_stop.clone()));
        helpers.spawn(maintenance::run(Bookkeeper, Arc::clone(&shared), helpers_stop.clone()));
        helpers.spawn(maintenance::run(
            Retainer { retention: self.settings.retention, every: self.settings.retention_every },
            Arc::clone(&shared),
            helpers_stop.clone(),
        ));

        let mut running_lanes = JoinSet::new();
        for number in 0..lanes {
            let share = slots / lanes + usize::from(number < slots % lanes);
            running_lanes.spawn(Lane::new(Arc::clone(&shared), number, share, queues.clone()).run());
        }

        stop.cancelled().await;
        tracing::info!(worker_id, "the worker stops: draining");
        drain(&shared, &mut running_lanes, self.settings.drain, self.settings.grace).await;
        helpers_stop.cancel();
        while helpers.join_next().await.is_some() {}
        leave(&shared).await;
        Ok(())
    }
}

async fn drain(shared: &Shared, lanes: &mut JoinSet<()>, drain: Duration, grace: Duration) {
    if all_ended(lanes, drain).await {
        return;
    }
    let asked = shared.in_flight.stop(StopReason::WorkerStops, |_| true);
    tracing::info!(asked, "asked the tasks that are still running to stop");
    if all_ended(lanes, grace).await {
        return;
    }
    let abandoned = shared.in_flight.abort_all();
    for attempt in &abandoned {
        tracing::warn!(
            task = attempt.public_id(),
            "the handler did not stop in time; the task was abandoned and goes back to the queue"
        );
    }
    lanes.shutdown().await;
}

async fn all_ended(lanes: &mut JoinSet<()>, within: Duration) -> bool {
    tokio::time::timeout(within, async { while lanes.join_next().await.is_some() {} }).await.is_ok()
}

/// Leases that are left belong to a stopped worker from here on; a rescue, ours
/// or another worker's, puts their tasks back.
async fn leave(shared: &Shared) {
    let leaving = async {
        maintenance::write_down(shared).await?;
        longhaul_model::store::leader::resign(&shared.pool, shared.identity.worker_id()).await?;
        store::stop(&shared.pool, shared.identity.worker_id()).await?;
        if !shared.in_flight.is_empty() {
            tracing::debug!("attempts are still in flight");
        }
        longhaul_model::store::rescue::rescue(&shared.pool).await
    };
    match tokio::time::timeout(Duration::from_secs(5), leaving).await {
        Ok(Ok(rescued)) => tracing::info!(requeued = rescued.requeued, "worker stopped"),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the worker could not deregister; other workers will notice its missing heartbeats")
        }
        Err(_) => {
            tracing::warn!("the worker could not deregister in time; other workers will notice its missing heartbeats")
        }
    }
}
