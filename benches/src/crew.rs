//! A worker in this process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use longhaul_model::Resources;
use longhaul_worker::{Settings, Worker, WorkerError};
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::chatter::Over;
use crate::ground::Ground;
use crate::pulse::Ends;
use crate::queue_tables;
use crate::registry::registry;
use crate::tally::Tally;

/// A worker with connections of its own, and what its handlers tell.
pub(crate) struct Crew {
    pub(crate) tally: Tally,
    pub(crate) over: Over,
    pub(crate) ends: Ends,
    pool: PgPool,
    stop: CancellationToken,
    worker: JoinHandle<Result<(), WorkerError>>,
}

impl Crew {
    pub(crate) async fn start(ground: &Ground, tally: Tally, settings: Settings) -> anyhow::Result<Self> {
        // Lanes, keeper, flusher, listener, maintenance services.
        let pool = ground.connect_engine(settings.lanes + 8).await?;
        let (over, ends, stop) = (Over::default(), Ends::default(), CancellationToken::new());
        let resources = Resources::new().with(tally.clone()).with(over.clone()).with(ends.clone());
        let worker = Worker::new(pool.clone(), registry(), settings).with_resources(Arc::new(resources));
        let run = worker.run(stop.clone());
        let worker = tokio::spawn(async { run.await.inspect_err(|error| eprintln!("the worker ended: {error}")) });
        Ok(Self { tally, over, ends, pool, stop, worker })
    }

    /// Waits until that many tasks have begun.
    pub(crate) async fn until(&self, tasks: usize) -> anyhow::Result<()> {
        tokio::select! {
            begun = self.tally.until(tasks) => begun,
            () = self.ends_by_itself() => anyhow::bail!("the worker ended before its tasks"),
        }
    }

    /// Waits until that many tasks have begun and all ends are stored.
    pub(crate) async fn drain(&self, ground: &Ground, tasks: usize) -> anyhow::Result<()> {
        self.until(tasks).await?;
        while !queue_tables::is_drained(&ground.pool).await? {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    async fn ends_by_itself(&self) {
        while !self.worker.is_finished() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops the worker and closes its connections.
    pub(crate) async fn dismiss(self) -> anyhow::Result<()> {
        self.over.0.cancel();
        self.stop.cancel();
        self.worker.await.context("the worker failed")??;
        self.pool.close().await;
        Ok(())
    }
}

/// Settings of a worker for short tasks: as many slots as asked for.
pub(crate) fn settings(slots: usize) -> Settings {
    Settings { slots, ..Settings::default() }
}
