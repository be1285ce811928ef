//! apalis-postgres; settings: batches of 5,000, `parallelize(tokio::spawn)`; for
//! latency its LISTEN/NOTIFY source beside a poll each 100 ms, since alone it misses some.

use std::time::Duration;

use apalis::prelude::*;
use apalis_postgres::{Config, PostgresStorage, queries};
use async_trait::async_trait;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::{Aim, Handled, Peer};

const QUEUE: &str = "bench";

pub struct Apalis {
    pool: PgPool,
}

impl Apalis {
    pub async fn connect(url: &str, connections: u32) -> anyhow::Result<Self> {
        Ok(Self { pool: PgPoolOptions::new().max_connections(connections).connect(url).await? })
    }
}

async fn noop(_number: usize, handled: Data<Handled>) -> Result<(), BoxDynError> {
    handled.tell();
    Ok(())
}

#[async_trait]
impl Peer for Apalis {
    fn bulk_size(&self) -> usize {
        5_000
    }

    async fn setup(&self) -> anyhow::Result<()> {
        PostgresStorage::setup(&self.pool).await?;
        Ok(())
    }

    async fn bulk(&self, count: usize) -> anyhow::Result<()> {
        let jobs = (0..count).map(|_| TaskBuilder::new(b"1".to_vec()).build()).collect();
        let mut connection = self.pool.acquire().await?;
        queries::push_tasks(&mut *connection, QUEUE, jobs).await?;
        Ok(())
    }

    async fn single(&self) -> anyhow::Result<()> {
        self.bulk(1).await
    }

    async fn consume(&self, aim: Aim, handled: Handled) -> anyhow::Result<()> {
        let config = Config::default().queue(QUEUE).batch_size(5_000);
        let storage = PostgresStorage::<usize>::new(&self.pool).with_config(config);
        // The worker's future is not provably Send: a thread of its own drives it,
        // jobs run on the runtime.
        let runtime = tokio::runtime::Handle::current();
        std::thread::spawn(move || {
            let builder = WorkerBuilder::new("bench");
            let ended = runtime.block_on(async {
                match aim {
                    Aim::Throughput => {
                        let storage = storage.poll_with_interval(Duration::from_millis(5));
                        builder.backend(storage).data(handled).parallelize(tokio::spawn).build(noop).run().await
                    }
                    Aim::Latency => {
                        let storage = storage.with_pubsub().poll_with_interval(Duration::from_millis(100));
                        builder.backend(storage).data(handled).parallelize(tokio::spawn).build(noop).run().await
                    }
                }
            });
            if let Err(error) = ended {
                eprintln!("apalis ended: {error}");
            }
        });
        Ok(())
    }

    async fn has_open(&self) -> anyhow::Result<bool> {
        let sql = "SELECT EXISTS (SELECT FROM apalis.jobs WHERE status NOT IN ('Done', 'Failed', 'Killed'))";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }
}
