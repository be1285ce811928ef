//! `longhaul-benches growth`

use clap::Args;
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::drain::{WorkerSizes, drain};
use crate::ground::{Ground, info};
use crate::noop::Noop;
use crate::queue_tables::{clear, fill_history, stored};
use crate::report::Run;
use crate::workload::Measure;

/// Drains with an empty table, and with one that holds millions of ended tasks.
#[derive(Debug, Args)]
pub(crate) struct Growth {
    #[command(flatten)]
    bench: BenchArgs,
    /// How many tasks are drained.
    #[arg(long, default_value_t = 100_000)]
    tasks: usize,
    /// How many tasks have ended before.
    #[arg(long, default_value_t = 10_000_000)]
    history: i64,
    #[command(flatten)]
    worker: WorkerSizes,
}

impl Measure for Growth {
    const NAME: &'static str = "growth";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        json!({"tasks": self.tasks, "history": self.history})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let (mut run, mut empty) = (Run::default(), Run::default());
        clear(&ground.pool).await?;
        ground.store(&Noop {}, self.tasks).await?;
        ground.settle().await?;
        let before = drain(ground, self.worker.settings(), self.tasks, &mut empty).await?;

        clear(&ground.pool).await?;
        fill_history(&ground.pool, info::<Noop>()?.name, info::<Noop>()?.queue, self.history).await?;
        let (history, _) = stored(&ground.pool).await?;
        anyhow::ensure!(history == self.history, "{history} tasks of history were stored instead of {}", self.history);
        ground.store(&Noop {}, self.tasks).await?;
        ground.settle().await?;
        let after = drain(ground, self.worker.settings(), self.tasks, &mut run).await?;
        run.set("empty_tasks_per_second", before);
        run.set("full_to_empty", after / before);
        Ok(run)
    }
}
