//! `longhaul-benches backlog`

use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use longhaul_model::store::bulk::enqueue_many;
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::crew::Crew;
use crate::drain::WorkerSizes;
use crate::ground::{Ground, info};
use crate::noop::Noop;
use crate::report::Run;
use crate::tally::Tally;
use crate::workload::Measure;

/// How fast a running worker is while few tasks wait, and while millions do.
#[derive(Debug, Args)]
pub(crate) struct Backlog {
    #[command(flatten)]
    bench: BenchArgs,
    /// How many tasks wait at first.
    #[arg(long, default_value_t = 2_000_000)]
    tasks: usize,
    /// How many wait in the other case, again and again until as many have run.
    #[arg(long, default_value_t = 10_000)]
    few: usize,
    /// How many ends are timed.
    #[arg(long, default_value_t = 200_000)]
    timed: usize,
    #[command(flatten)]
    worker: WorkerSizes,
}

impl Measure for Backlog {
    const NAME: &'static str = "backlog";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        json!({"tasks": self.tasks, "few": self.few, "timed": self.timed})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let mut run = Run::default();
        let few = self.few.max(1);
        ensure!(self.tasks > few, "--tasks must be more than --few");
        let timed = self.timed.clamp(1, self.tasks - few);
        ground.clear().await?;
        ground.settle().await?;
        let crew = Crew::start(ground, Tally::default(), self.worker.settings()).await?;
        let (mut seconds, mut done) = (0.0, 0);
        while done < timed {
            self.store(ground, few).await?;
            let began = Instant::now();
            done += few;
            crew.until(done).await?;
            seconds += began.elapsed().as_secs_f64();
        }
        crew.drain(ground, done).await?;
        crew.dismiss().await?;
        let few_rate = done as f64 / seconds;

        ground.clear().await?;
        self.store(ground, self.tasks).await?;
        ground.settle().await?;
        let began = Instant::now();
        let crew = Crew::start(ground, Tally::default(), self.worker.settings()).await?;
        // A worker that is at work, as in the other case.
        crew.until(few).await?;
        let at_work = Instant::now();
        crew.until(few + timed).await?;
        let first = timed as f64 / at_work.elapsed().as_secs_f64();
        crew.drain(ground, self.tasks).await?;
        let whole = self.tasks as f64 / began.elapsed().as_secs_f64();
        crew.dismiss().await?;
        run.set("few_tasks_per_second", few_rate);
        run.set("tasks_per_second", first);
        run.set("whole_tasks_per_second", whole);
        run.set("deep_to_few", first / few_rate);
        Ok(run)
    }
}

impl Backlog {
    async fn store(&self, ground: &Ground, count: usize) -> anyhow::Result<()> {
        let mut transaction = ground.pool.begin().await?;
        enqueue_many(&mut transaction, ground.new_tasks(info::<Noop>()?, &json!({}), count)).await?;
        transaction.commit().await?;
        Ok(())
    }
}
