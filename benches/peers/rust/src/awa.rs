//! awa; settings: queue storage (its default engine), one enqueue shard for each
//! of four producers, 1,024 workers, claims of 512, bulk by COPY.

use std::time::Duration;

use async_trait::async_trait;
use awa::{
    Client, InsertOpts, JobArgs, JobContext, JobError, JobResult, QueueConfig, QueueStorage, QueueStorageConfig, Worker,
};
use serde::{Deserialize, Serialize};
use sqlx08::PgPool;
use sqlx08::postgres::PgPoolOptions;

use crate::{Aim, Handled, Peer};

const QUEUE: &str = "bench";
const SHARDS: i16 = 4;

#[derive(Serialize, Deserialize, JobArgs)]
struct Noop {}

struct NoopWorker(Handled);

#[async_trait]
impl Worker for NoopWorker {
    fn kind(&self) -> &'static str {
        "noop"
    }

    async fn perform(&self, _context: &JobContext) -> Result<JobResult, JobError> {
        self.0.tell();
        Ok(JobResult::Completed)
    }
}

pub struct Awa {
    pool: PgPool,
    store: QueueStorage,
}

impl Awa {
    pub async fn connect(url: &str, connections: u32) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new().max_connections(connections).connect(url).await?;
        Ok(Self { pool, store: QueueStorage::new(QueueStorageConfig::default())? })
    }

    fn client(&self, aim: Aim, handled: Handled) -> anyhow::Result<Client> {
        let config = QueueConfig {
            max_workers: if aim == Aim::Throughput { 1_024 } else { 10 },
            claim_batch_size: 512,
            poll_interval: Duration::from_millis(50),
            // The short path of its documentation for jobs without a deadline.
            deadline_duration: Duration::ZERO,
            ..QueueConfig::default()
        };
        Ok(Client::builder(self.pool.clone()).queue(QUEUE, config).register_worker(NoopWorker(handled)).build()?)
    }
}

fn job() -> anyhow::Result<awa::InsertParams> {
    let options = InsertOpts { queue: QUEUE.to_owned(), ..InsertOpts::default() };
    Ok(awa::model::insert::params_with(&Noop {}, options)?)
}

#[async_trait]
impl Peer for Awa {
    async fn setup(&self) -> anyhow::Result<()> {
        // Its future is not provably Send, so it does not become part of this one.
        let (pool, runtime) = (self.pool.clone(), tokio::runtime::Handle::current());
        tokio::task::spawn_blocking(move || runtime.block_on(async { awa::migrations::run(&pool).await })).await??;
        sqlx08::query("INSERT INTO awa.queue_meta (queue, enqueue_shards) VALUES ($1, $2)")
            .bind(QUEUE)
            .bind(SHARDS)
            .execute(&self.pool)
            .await?;
        // The first client of a new schema switches queue storage on; its lanes must
        // be there before producers race to make them.
        let handled = Handled { count: std::sync::Arc::default(), begun: None };
        let client = self.client(Aim::Latency, handled.clone())?;
        client.start().await?;
        let lanes = usize::try_from(SHARDS)? * 2;
        for _ in 0..lanes {
            self.single().await?;
        }
        while handled.count() < lanes || self.has_open().await? {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        client.shutdown(Duration::from_secs(5)).await;
        Ok(())
    }

    async fn bulk(&self, count: usize) -> anyhow::Result<()> {
        let jobs = (0..count).map(|_| job()).collect::<anyhow::Result<Vec<_>>>()?;
        self.store.enqueue_params_copy(&self.pool, &jobs).await?;
        Ok(())
    }

    async fn single(&self) -> anyhow::Result<()> {
        self.store.enqueue_params_batch(&self.pool, &[job()?]).await?;
        Ok(())
    }

    async fn consume(&self, aim: Aim, handled: Handled) -> anyhow::Result<()> {
        let client = self.client(aim, handled)?;
        client.start().await?;
        // It works as long as it lives: until the end of the process.
        std::mem::forget(client);
        Ok(())
    }

    async fn has_open(&self) -> anyhow::Result<bool> {
        let counts = self.store.queue_counts(&self.pool, QUEUE).await?;
        Ok(counts.available + counts.running > 0)
    }
}
