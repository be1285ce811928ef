//! graphile_worker, the Rust port; settings: concurrency 200, local queue 2,000,
//! completion batch 5 ms; for latency neither queue nor batch, which delay.

use std::time::Duration;

use async_trait::async_trait;
use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, WorkerContext,
    WorkerOptions, WorkerUtils,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::{Aim, Handled, Peer};

const SCHEMA: &str = "graphile_worker";

#[derive(Serialize, Deserialize)]
struct Noop {}

impl TaskHandler for Noop {
    const IDENTIFIER: &'static str = "noop";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        if let Some(handled) = context.get_ext::<Handled>() {
            handled.tell();
        }
        Ok::<(), String>(())
    }
}

pub struct Graphile {
    pool: PgPool,
    utils: WorkerUtils,
}

impl Graphile {
    pub async fn connect(url: &str, connections: u32) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new().max_connections(connections).connect(url).await?;
        Ok(Self { utils: WorkerUtils::new(pool.clone(), SCHEMA), pool })
    }

    fn options(&self) -> WorkerOptions {
        WorkerOptions::default().schema(SCHEMA).pg_pool(self.pool.clone()).define_job::<Noop>()
    }
}

#[async_trait]
impl Peer for Graphile {
    fn bulk_size(&self) -> usize {
        5_000
    }

    async fn setup(&self) -> anyhow::Result<()> {
        self.options().init().await?;
        Ok(())
    }

    async fn bulk(&self, count: usize) -> anyhow::Result<()> {
        let jobs: Vec<RawJobSpec> = (0..count)
            .map(|_| RawJobSpec { identifier: "noop".to_owned(), payload: json!({}), spec: JobSpec::default() })
            .collect();
        self.utils.add_raw_jobs(&jobs).await?;
        Ok(())
    }

    async fn single(&self) -> anyhow::Result<()> {
        self.utils.add_job(Noop {}, JobSpec::default()).await?;
        Ok(())
    }

    async fn consume(&self, aim: Aim, handled: Handled) -> anyhow::Result<()> {
        let options = self.options().add_extension(handled);
        let options = match aim {
            Aim::Throughput => options
                .concurrency(200)
                .local_queue(LocalQueueConfig::default().with_size(2_000))
                .complete_job_batch_delay(Duration::from_millis(5)),
            Aim::Latency => options.concurrency(10),
        };
        let worker = options.init().await?;
        tokio::spawn(async move {
            if let Err(error) = worker.run().await {
                eprintln!("graphile_worker ended: {error}");
            }
        });
        Ok(())
    }

    async fn has_open(&self) -> anyhow::Result<bool> {
        let sql = "SELECT EXISTS (SELECT FROM graphile_worker._private_jobs)";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }
}
