//! `longhaul-benches linked`

use std::time::{Duration, Instant};

use clap::Args;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::linked::{Dependency, IfChildFailed, IfFailed, begin_batch, enqueue_linked};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::args::BenchArgs;
use crate::crew::Crew;
use crate::drain::WorkerSizes;
use crate::ground::{Ground, info};
use crate::noop::Noop;
use crate::queue_tables;
use crate::report::Run;
use crate::tally::Tally;
use crate::workload::Measure;

/// Stores a parent and its children beside a worker, to the parent's end; the same number of
/// tasks without a parent; and tasks each of which waits for the one before.
#[derive(Debug, Args)]
pub(crate) struct Linked {
    #[command(flatten)]
    bench: BenchArgs,
    /// How many children.
    #[arg(long, default_value_t = 100_000)]
    children: usize,
    /// How many tasks in the chain.
    #[arg(long, default_value_t = 1_000)]
    links: usize,
    #[command(flatten)]
    worker: WorkerSizes,
}

impl Measure for Linked {
    const NAME: &'static str = "linked";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        json!({"children": self.children, "links": self.links})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let mut run = Run::default();
        let plain = self.plain(ground).await?;
        let batch = self.batch(ground).await?;
        run.set("plain_tasks_per_second", self.children as f64 / plain.as_secs_f64());
        run.set("batch_tasks_per_second", self.children as f64 / batch.as_secs_f64());
        run.set("batch_to_plain", plain.as_secs_f64() / batch.as_secs_f64());
        let chain = self.chain(ground).await?;
        run.set("chain_ms_per_link", chain.as_secs_f64() * 1e3 / self.links.max(1) as f64);
        Ok(run)
    }
}

/// Tasks are stored so many at a time.
const AT_ONCE: usize = 1_000;

impl Linked {
    async fn start(&self, ground: &Ground) -> anyhow::Result<Crew> {
        ground.clear().await?;
        ground.settle().await?;
        Crew::start(ground, Tally::default(), self.worker.settings()).await
    }

    async fn plain(&self, ground: &Ground) -> anyhow::Result<Duration> {
        let crew = self.start(ground).await?;
        let began = Instant::now();
        // In one transaction, as the batch.
        let mut transaction = ground.pool.begin().await?;
        for tasks in self.children(ground)?.chunks(AT_ONCE) {
            enqueue(&mut *transaction, tasks).await?;
        }
        transaction.commit().await?;
        crew.drain(ground, self.children).await?;
        let took = began.elapsed();
        crew.dismiss().await?;
        Ok(took)
    }

    async fn batch(&self, ground: &Ground) -> anyhow::Result<Duration> {
        let crew = self.start(ground).await?;
        let began = Instant::now();
        let parent = ground.new_task(&Noop {})?;
        let mut transaction = ground.pool.begin().await?;
        begin_batch(&mut transaction, &parent, IfChildFailed::Continue).await?;
        for tasks in self.children(ground)?.chunks(AT_ONCE) {
            enqueue_linked(&mut transaction, tasks, &[], Some(parent.id)).await?;
        }
        transaction.commit().await?;
        crew.until(self.children).await?;
        succeeded(ground, parent.id).await?;
        let took = began.elapsed();
        crew.dismiss().await?;
        Ok(took)
    }

    async fn chain(&self, ground: &Ground) -> anyhow::Result<Duration> {
        let crew = self.start(ground).await?;
        let tasks: Vec<NewTask> = ground.new_tasks(info::<Noop>()?, &json!({}), self.links).collect();
        let dependencies: Vec<Dependency> = tasks
            .windows(2)
            .map(|pair| Dependency { task: pair[1].id, on: pair[0].id, if_failed: IfFailed::Cancel })
            .collect();
        let mut transaction = ground.pool.begin().await?;
        enqueue_linked(&mut transaction, &tasks, &dependencies, None).await?;
        transaction.commit().await?;
        let began = Instant::now();
        crew.until(self.links).await?;
        let took = began.elapsed();
        crew.dismiss().await?;
        Ok(took)
    }

    fn children(&self, ground: &Ground) -> anyhow::Result<Vec<NewTask>> {
        Ok(ground.new_tasks(info::<Noop>()?, &json!({}), self.children).collect())
    }
}

async fn succeeded(ground: &Ground, id: Uuid) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !queue_tables::has_succeeded(&ground.pool, id).await? {
        anyhow::ensure!(Instant::now() < deadline, "the parent has not succeeded");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
