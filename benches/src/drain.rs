//! `longhaul-benches drain`

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use longhaul_model::store::watch::watch;
use longhaul_worker::Settings;
use serde_json::{Value, json};
use sqlx::Connection;
use uuid::Uuid;

use crate::args::BenchArgs;
use crate::crew::Crew;
use crate::ground::Ground;
use crate::limit;
use crate::meter::Meter;
use crate::noop::Noop;
use crate::queue_tables::succeeded;
use crate::report::Run;
use crate::tally::Tally;
use crate::workload::Measure;

/// Stores tasks that do nothing, a thousand at a time, and lets one worker end
/// them all, with their full history kept. Beside it, in the same run, the limit
/// of PostgreSQL itself.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    bench: BenchArgs,
    /// How many tasks.
    #[arg(long, default_value_t = 100_000)]
    tasks: usize,
    /// How many other tasks are streamed to clients meanwhile.
    #[arg(long, default_value_t = 0)]
    watched: usize,
    /// A transaction that was begun before all else holds its snapshot, so that
    /// nothing deleted can be removed.
    #[arg(long)]
    pinned: bool,
    #[command(flatten)]
    worker: WorkerSizes,
}

/// Sizes of the worker.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WorkerSizes {
    /// How many tasks run at once.
    #[arg(long, default_value_t = 200)]
    slots: usize,
    /// How many claim loops share the slots.
    #[arg(long, default_value_t = 2)]
    lanes: usize,
}

impl WorkerSizes {
    pub(crate) fn settings(self) -> Settings {
        Settings { slots: self.slots, lanes: self.lanes, ..Settings::default() }
    }
}

impl Measure for Drain {
    const NAME: &'static str = "drain";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        json!({"tasks": self.tasks, "slots": self.worker.slots, "lanes": self.worker.lanes, "watched": self.watched,
               "pinned": self.pinned})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let mut run = Run::default();
        ground.clear().await?;
        let old = if self.pinned { Some(ground.hold_snapshot().await?) } else { None };
        let storing = Meter::start(ground).await?;
        ground.store(&Noop {}, self.tasks).await?;
        let stored = storing.stop(ground).await?;
        if self.watched > 0 {
            let others: Vec<Uuid> = (0..self.watched).map(|_| ground.clock.new_id()).collect();
            watch(&ground.pool, ground.clock.new_id(), &others, Duration::from_secs(3_600)).await?;
        }
        ground.settle().await?;
        let rate = drain(ground, self.worker.settings(), self.tasks, &mut run).await?;
        if let Some(old) = old {
            old.close().await?;
        }
        let sizes = limit::Sizes { tasks: self.tasks, batch: 1_000, connections: self.worker.lanes };
        let mut costs = Run::default();
        let limit = limit::measure(ground, sizes, &mut costs).await?;
        run.set("enqueue_wal_bytes_per_task", stored.wal_bytes() / self.tasks.max(1) as f64);
        run.set("limit_tasks_per_second", limit.delete);
        run.set("share_of_limit", rate / limit.delete);
        Ok(run)
    }
}

/// From the start of a worker until all that is ready has ended; returns tasks/s.
pub(crate) async fn drain(ground: &Ground, settings: Settings, tasks: usize, run: &mut Run) -> anyhow::Result<f64> {
    let before = succeeded(&ground.pool).await?;
    let meter = Meter::start(ground).await?;
    let crew = Crew::start(ground, Tally::default(), settings).await?;
    crew.drain(ground, tasks).await?;
    let stretch = meter.stop(ground).await?;
    crew.dismiss().await?;
    let rate = tasks as f64 / stretch.seconds;
    run.set("tasks_per_second", rate);
    stretch.costs(ground, run, "", tasks).await?;
    let ended = succeeded(&ground.pool).await? - before;
    ensure!(usize::try_from(ended)? == tasks, "{ended} of {tasks} tasks succeeded");
    Ok(rate)
}
