//! `longhaul-benches enqueue-bulk`

use std::sync::Arc;

use anyhow::ensure;
use clap::Args;
use longhaul_model::DatabaseClock;
use longhaul_model::store::bulk::enqueue_many;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::args::BenchArgs;
use crate::ground::{Ground, info};
use crate::meter::Meter;
use crate::noop::Noop;
use crate::queue_tables::stored;
use crate::report::Run;
use crate::workload::Measure;

/// Producers that store many tasks at once, each in transactions of its own:
/// with COPY, and a thousand in one statement.
#[derive(Debug, Args)]
pub(crate) struct EnqueueBulk {
    #[command(flatten)]
    bench: BenchArgs,
    /// How many tasks in all.
    #[arg(long, default_value_t = 200_000)]
    tasks: usize,
    /// How many producers at once.
    #[arg(long, default_value_t = 4)]
    producers: usize,
    /// Tasks of one COPY and its transaction.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    copy: u32,
    /// Tasks of one statement and its transaction.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    chunk: u32,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Copy(usize),
    Chunk(usize),
}

impl Measure for EnqueueBulk {
    const NAME: &'static str = "enqueue-bulk";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        json!({"tasks": self.tasks, "producers": self.producers, "copy": self.copy, "chunk": self.chunk})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let mut run = Run::default();
        let (copy, chunk) = (usize::try_from(self.copy)?, usize::try_from(self.chunk)?);
        for (prefix, way) in [("", Way::Copy(copy)), ("statement_", Way::Chunk(chunk))] {
            ground.clear().await?;
            ground.settle().await?;
            let pool = ground.connect(self.producers).await?;
            let clock = Arc::new(DatabaseClock::learn(&pool).await?);
            let each = (self.tasks / self.producers.max(1)).max(1);
            let meter = Meter::start(ground).await?;
            let producers: Vec<_> = (0..self.producers)
                .map(|_| tokio::spawn(produce(pool.clone(), Arc::clone(&clock), way, each)))
                .collect();
            for producer in producers {
                producer.await??;
            }
            let stretch = meter.stop(ground).await?;
            pool.close().await;
            let count = each * self.producers;
            run.set(format!("{prefix}tasks_per_second"), count as f64 / stretch.seconds);
            stretch.costs(ground, &mut run, prefix, count).await?;
            let (tasks, ready) = stored(&ground.pool).await?;
            let expected = i64::try_from(count)?;
            ensure!(tasks == expected && ready == expected, "{tasks} stored, {ready} ready instead of {expected}");
        }
        Ok(run)
    }
}

async fn produce(pool: PgPool, clock: Arc<DatabaseClock>, way: Way, count: usize) -> anyhow::Result<()> {
    let info = info::<Noop>()?;
    let mut tasks = (0..count).map(|_| NewTask::new(clock.new_id(), info, json!({}))).peekable();
    while tasks.peek().is_some() {
        match way {
            Way::Copy(size) => {
                let mut transaction = pool.begin().await?;
                enqueue_many(&mut transaction, tasks.by_ref().take(size)).await?;
                transaction.commit().await?;
            }
            Way::Chunk(size) => {
                let chunk: Vec<NewTask> = tasks.by_ref().take(size).collect();
                enqueue(&pool, &chunk).await?;
            }
        }
    }
    Ok(())
}
