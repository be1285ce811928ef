//! `longhaul-benches sustained`

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::crew::Crew;
use crate::drain::WorkerSizes;
use crate::ground::Ground;
use crate::load::Load;
use crate::meter::Meter;
use crate::report::Run;
use crate::tally::Tally;
use crate::workload::Measure;

/// Stores tasks at a steady rate while one worker runs them.
#[derive(Debug, Args)]
pub(crate) struct Sustained {
    #[command(flatten)]
    bench: BenchArgs,
    /// Tasks a second.
    #[arg(long, default_value_t = 10_000)]
    rate: usize,
    /// Seconds.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    #[command(flatten)]
    worker: WorkerSizes,
}

impl Measure for Sustained {
    const NAME: &'static str = "sustained";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        json!({"rate": self.rate, "seconds": self.seconds})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let mut run = Run::default();
        ground.clear().await?;
        ground.settle().await?;
        let crew = Crew::start(ground, Tally::timed(), self.worker.settings()).await?;
        let meter = Meter::start(ground).await?;
        let load = Load::start(ground, crew.tally.clone(), self.rate, 10 * self.rate.max(1_000), true).await?;
        tokio::time::sleep(Duration::from_secs_f64(self.seconds)).await;
        let sent = load.stop().await?;
        let tasks = sent.iter().map(|sent| sent.ids.len()).sum();
        crew.drain(ground, tasks).await?;
        let stretch = meter.stop(ground).await?;
        let mut waits = Vec::with_capacity(tasks);
        for batch in &sent {
            waits.extend(
                batch.ids.iter().filter_map(|id| crew.tally.time_of(*id)).map(|begun| (begun - batch.at).as_secs_f64()),
            );
        }
        crew.dismiss().await?;
        run.set("tasks_per_second", tasks as f64 / stretch.seconds);
        run.set_latencies("enqueue_to_start", &mut waits);
        stretch.costs(ground, &mut run, "", tasks).await?;
        Ok(run)
    }
}
