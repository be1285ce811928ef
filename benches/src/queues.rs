//! `longhaul-benches queues`

use clap::Args;
use longhaul_model::TaskTypeInfo;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_worker::Settings;
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::drain::{WorkerSizes, drain};
use crate::ground::{Ground, info};
use crate::noop::Noop;
use crate::report::Run;
use crate::workload::Measure;

/// Drains one queue, and as many tasks that are spread over many queues, with one
/// worker that serves them all.
#[derive(Debug, Args)]
pub(crate) struct Queues {
    #[command(flatten)]
    bench: BenchArgs,
    /// How many tasks.
    #[arg(long, default_value_t = 100_000)]
    tasks: usize,
    /// Over how many queues.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    queues: u16,
    #[command(flatten)]
    worker: WorkerSizes,
}

impl Measure for Queues {
    const NAME: &'static str = "queues";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        json!({"tasks": self.tasks, "queues": self.queues})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let mut run = Run::default();
        let mut one = Run::default();
        let single = self.drain(ground, 1, &mut one).await?;
        let many = self.drain(ground, self.queues, &mut run).await?;
        run.set("one_queue_tasks_per_second", single);
        run.set("many_to_one", many / single);
        Ok(run)
    }
}

impl Queues {
    async fn drain(&self, ground: &Ground, queues: u16, run: &mut Run) -> anyhow::Result<f64> {
        ground.clear().await?;
        // A type's queue is a constant; these few names live as long as the program.
        let names: Vec<&'static str> =
            (0..queues).map(|number| &*Box::leak(format!("queue-{number}").into_boxed_str())).collect();
        let noop = info::<Noop>()?;
        let mut stored = 0;
        while stored < self.tasks {
            let batch: Vec<NewTask> = (stored..self.tasks.min(stored + 1_000))
                .map(|number| {
                    let info = TaskTypeInfo { queue: names[number % names.len()], ..noop };
                    NewTask::new(ground.clock.new_id(), info, json!({}))
                })
                .collect();
            enqueue(&ground.pool, &batch).await?;
            stored += batch.len();
        }
        ground.settle().await?;
        let queues = names.iter().map(|name| (*name).to_owned()).collect();
        drain(ground, Settings { queues, ..self.worker.settings() }, self.tasks, run).await
    }
}
