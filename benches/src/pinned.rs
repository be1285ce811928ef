//! `longhaul-benches pinned`

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use sqlx::Connection;

use crate::args::BenchArgs;
use crate::crew::Crew;
use crate::drain::WorkerSizes;
use crate::ground::Ground;
use crate::load::Load;
use crate::meter::Meter;
use crate::report::Run;
use crate::tally::Tally;
use crate::workload::Measure;

/// A transaction that was begun before all else holds its snapshot, so that
/// nothing deleted can be removed, while tasks are stored and run at a rate. Shows
/// how many were run, and what each cost PostgreSQL, in the first and in the last
/// part of the time.
#[derive(Debug, Args)]
pub(crate) struct Pinned {
    #[command(flatten)]
    bench: BenchArgs,
    /// Minutes of one run.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Tasks a second; more than can be run means as many as can be.
    #[arg(long, default_value_t = 10_000)]
    rate: usize,
    /// Into how many parts the time is cut.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=1000))]
    parts: u32,
    #[command(flatten)]
    worker: WorkerSizes,
}

impl Measure for Pinned {
    const NAME: &'static str = "pinned";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        json!({"minutes": self.minutes, "rate": self.rate, "parts": self.parts})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let mut run = Run::default();
        ground.clear().await?;
        ground.settle().await?;
        let old = ground.hold_snapshot().await?;

        let crew = Crew::start(ground, Tally::default(), self.worker.settings()).await?;
        let load = Load::start(ground, crew.tally.clone(), self.rate, 4_000, false).await?;
        let part = Duration::from_secs_f64(self.minutes * 60.0 / f64::from(self.parts));
        let mut parts = Vec::new();
        let whole = Meter::start(ground).await?;
        let mut next = Instant::now();
        for _ in 0..self.parts {
            let (meter, before) = (Meter::start(ground).await?, crew.tally.count());
            next += part;
            tokio::time::sleep_until(next.into()).await;
            let done = (crew.tally.count() - before).max(1) as f64;
            let stretch = meter.stop(ground).await?;
            let cpu = stretch.postgres_cpu().map(|seconds| seconds * 1e6 / done);
            parts.push((done / stretch.seconds, cpu));
        }
        let tasks = crew.tally.count();
        let stretch = whole.stop(ground).await?;
        load.stop().await?;
        old.close().await?;
        crew.dismiss().await?;

        run.set("tasks_per_second", tasks as f64 / stretch.seconds);
        if let (Some(first), Some(last)) = (parts.first(), parts.last()) {
            run.set("first_part_tasks_per_second", first.0);
            run.set("last_part_tasks_per_second", last.0);
            run.set("last_to_first", last.0 / first.0);
            if let (Some(first), Some(last)) = (first.1, last.1) {
                run.set("first_part_postgres_cpu_us_per_task", first);
                run.set("last_part_postgres_cpu_us_per_task", last);
            }
        }
        for (number, (rate, _)) in parts.iter().enumerate() {
            run.set(format!("part_{:02}_tasks_per_second", number + 1), *rate);
        }
        let (task_bytes, ready_bytes) = stretch.grown_bytes();
        run.set("task_bytes_per_task", task_bytes as f64 / tasks.max(1) as f64);
        run.set("ready_bytes_per_task", ready_bytes as f64 / tasks.max(1) as f64);
        stretch.costs(ground, &mut run, "", tasks).await?;
        Ok(run)
    }
}
