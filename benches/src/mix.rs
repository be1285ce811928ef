//! `longhaul-benches mix`

use clap::Args;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::crew::Crew;
use crate::drain::WorkerSizes;
use crate::ground::{Ground, info};
use crate::meter::Meter;
use crate::noop::Noop;
use crate::pause::Pause;
use crate::report::Run;
use crate::tally::Tally;
use crate::workload::Measure;

/// Long tasks evenly among short ones, two workers: the time that the long ones
/// need if every slot is always in use, to the time it took.
#[derive(Debug, Args)]
pub(crate) struct Mix {
    #[command(flatten)]
    bench: BenchArgs,
    /// How many tasks do nothing.
    #[arg(long, default_value_t = 50_000)]
    short: usize,
    /// How many tasks are long.
    #[arg(long, default_value_t = 2_000)]
    long: usize,
    /// How long these are, in ms.
    #[arg(long, default_value_t = 250)]
    milliseconds: u64,
    #[command(flatten)]
    worker: WorkerSizes,
}

impl Measure for Mix {
    const NAME: &'static str = "mix";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        json!({"short": self.short, "long": self.long, "milliseconds": self.milliseconds, "workers": 2,
               "slots_of_each": self.worker.settings().slots})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let mut run = Run::default();
        ground.clear().await?;
        let (long, short) = (info::<Pause>()?, info::<Noop>()?);
        let tasks = self.short + self.long;
        let mut batch = Vec::new();
        for number in 0..tasks {
            // As evenly as whole numbers allow.
            let is_long = (number + 1) * self.long / tasks > number * self.long / tasks;
            batch.push(if is_long {
                NewTask::new(ground.clock.new_id(), long, json!({"milliseconds": self.milliseconds}))
            } else {
                NewTask::new(ground.clock.new_id(), short, json!({}))
            });
            if batch.len() == 1_000 || number + 1 == tasks {
                enqueue(&ground.pool, &std::mem::take(&mut batch)).await?;
            }
        }
        ground.settle().await?;
        let tally = Tally::default();
        let meter = Meter::start(ground).await?;
        let one = Crew::start(ground, tally.clone(), self.worker.settings()).await?;
        let two = Crew::start(ground, tally, self.worker.settings()).await?;
        one.drain(ground, tasks).await?;
        let stretch = meter.stop(ground).await?;
        one.dismiss().await?;
        two.dismiss().await?;
        let slots = 2 * self.worker.settings().slots;
        // The last round may be half empty: whole rounds are what is possible.
        let rounds = self.long.div_ceil(slots.max(1));
        let possible = rounds as f64 * self.milliseconds as f64 / 1e3;
        run.set("tasks_per_second", tasks as f64 / stretch.seconds);
        run.set("seconds", stretch.seconds);
        run.set("possible_seconds", possible);
        run.set("slots_in_use", possible / stretch.seconds);
        stretch.costs(ground, &mut run, "", tasks).await?;
        Ok(run)
    }
}
