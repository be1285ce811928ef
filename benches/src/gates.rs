//! `longhaul-benches gates`

use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use longhaul_model::DatabaseClock;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::queue::{QueueSettings, set};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::args::BenchArgs;
use crate::crew::{Crew, settings};
use crate::ground::{Ground, info};
use crate::noop::Noop;
use crate::report::Run;
use crate::tally::Tally;
use crate::workload::Measure;

/// Stores single tasks into a queue without a gate, into the same queue while another one
/// is gated, and into a gated queue; each alone and beside a worker that ends them. And how
/// soon an idle worker begins a task of a queue with and without a gate, and how many it ends.
#[derive(Debug, Args)]
pub(crate) struct Gates {
    #[command(flatten)]
    bench: BenchArgs,
    /// How many tasks each time.
    #[arg(long, default_value_t = 8_000)]
    tasks: usize,
    /// How many producers at once.
    #[arg(long, default_value_t = 16)]
    producers: usize,
    /// How many tasks of the gated queue run at once.
    #[arg(long, default_value_t = 8)]
    limit: i32,
    /// Keys take turns in the gated queue.
    #[arg(long)]
    fair: bool,
    /// How many tasks are begun one after the other.
    #[arg(long, default_value_t = 200)]
    waits: usize,
}

impl Measure for Gates {
    const NAME: &'static str = "gates";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        json!({"tasks": self.tasks, "producers": self.producers, "limit": self.limit, "fair": self.fair})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let mut run = Run::default();
        let (open, gated) = (QueueSettings::default(), self.gate());
        let own = info::<Noop>()?.queue;
        for (prefix, beside) in [("alone", false), ("beside", true)] {
            let free = self.store(ground, own, &open, beside).await?;
            let other = self.store(ground, "another", &gated, beside).await?;
            set(&ground.pool, "another", &open).await?;
            let limited = self.store(ground, own, &gated, beside).await?;
            set(&ground.pool, own, &open).await?;
            run.set(format!("{prefix}_ungated_tasks_per_second"), free);
            run.set(format!("{prefix}_other_gated_to_ungated"), other / free);
            run.set(format!("{prefix}_gated_to_ungated"), limited / free);
        }
        for (name, settings) in [("ungated", &open), ("gated", &gated)] {
            let mut waits = self.begin(ground, own, settings).await?;
            run.set_latencies(&format!("{name}_begin"), &mut waits);
        }
        for (name, settings) in [("ungated", &open), ("gated", &gated)] {
            run.set(format!("{name}_ended_tasks_per_second"), self.drain(ground, own, settings).await?);
        }
        set(&ground.pool, own, &open).await?;
        Ok(run)
    }
}

impl Gates {
    fn gate(&self) -> QueueSettings {
        QueueSettings { max_running: Some(self.limit), fair: self.fair, ..QueueSettings::default() }
    }

    /// Tasks stored a second while `queue` is set so.
    async fn store(&self, ground: &Ground, queue: &str, gate: &QueueSettings, beside: bool) -> anyhow::Result<f64> {
        ground.clear().await?;
        ground.settle().await?;
        set(&ground.pool, queue, gate).await?;
        let crew = if beside { Some(Crew::start(ground, Tally::default(), settings(32)).await?) } else { None };
        let pool = ground.connect(self.producers).await?;
        let mut opened = Vec::new();
        for _ in 0..self.producers {
            opened.push(pool.acquire().await?);
        }
        drop(opened);
        let clock = Arc::new(DatabaseClock::learn(&pool).await?);
        let each = (self.tasks / self.producers.max(1)).max(1);
        let began = Instant::now();
        let producers: Vec<_> =
            (0..self.producers).map(|_| tokio::spawn(produce(pool.clone(), Arc::clone(&clock), each))).collect();
        for producer in producers {
            producer.await??;
        }
        let took = began.elapsed();
        pool.close().await;
        if let Some(crew) = crew {
            crew.dismiss().await?;
        }
        Ok((each * self.producers) as f64 / took.as_secs_f64())
    }

    /// Tasks that a worker ends a second.
    async fn drain(&self, ground: &Ground, queue: &str, gate: &QueueSettings) -> anyhow::Result<f64> {
        ground.clear().await?;
        set(&ground.pool, queue, gate).await?;
        ground.store(&Noop {}, self.tasks).await?;
        ground.settle().await?;
        let crew = Crew::start(ground, Tally::default(), settings(32)).await?;
        let began = Instant::now();
        crew.drain(ground, self.tasks).await?;
        let took = began.elapsed();
        crew.dismiss().await?;
        Ok(self.tasks as f64 / took.as_secs_f64())
    }

    /// How long each of some tasks waits for an idle worker.
    async fn begin(&self, ground: &Ground, queue: &str, gate: &QueueSettings) -> anyhow::Result<Vec<f64>> {
        ground.clear().await?;
        set(&ground.pool, queue, gate).await?;
        let crew = Crew::start(ground, Tally::default(), settings(32)).await?;
        let mut waits = Vec::new();
        for number in 1..=self.waits {
            let began = Instant::now();
            ground.store(&Noop {}, 1).await?;
            crew.until(number).await?;
            waits.push(began.elapsed().as_secs_f64());
        }
        crew.dismiss().await?;
        Ok(waits)
    }
}

async fn produce(pool: PgPool, clock: Arc<DatabaseClock>, count: usize) -> anyhow::Result<()> {
    let info = info::<Noop>()?;
    for _ in 0..count {
        enqueue(&pool, &[NewTask::new(clock.new_id(), info, json!({}))]).await?;
    }
    Ok(())
}
