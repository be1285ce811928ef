//! `longhaul-benches cuts`

use std::time::{Duration, Instant};

use clap::Args;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::is_passing;
use serde_json::{Value, json};
use sqlx::error::DatabaseError;
use uuid::Uuid;

use crate::args::BenchArgs;
use crate::crew::Crew;
use crate::drain::WorkerSizes;
use crate::ground::{Ground, info};
use crate::noop::Noop;
use crate::report::Run;
use crate::tally::Tally;
use crate::workload::Measure;

/// A steady load while every connection to the database is cut once a second: how many tasks
/// begin in the worst second, and how late. A producer whose connection was cut stores the same
/// tasks again, by the same ids.
#[derive(Debug, Args)]
pub(crate) struct Cuts {
    #[command(flatten)]
    bench: BenchArgs,
    /// Tasks a second.
    #[arg(long, default_value_t = 200)]
    rate: usize,
    /// Seconds, and cuts.
    #[arg(long, default_value_t = 14)]
    seconds: u64,
    #[command(flatten)]
    worker: WorkerSizes,
}

impl Measure for Cuts {
    const NAME: &'static str = "cuts";

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
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        let end = began + Duration::from_secs(self.seconds);
        let cuts = async {
            let mut cut = 0u64;
            for second in 0..self.seconds {
                tokio::time::sleep_until((began + Duration::from_millis(500 + 1_000 * second)).into()).await;
                cut += ground.cut_all().await?;
            }
            anyhow::Ok(cut)
        };
        let (sent, cut) = tokio::try_join!(self.produce(ground, began, end), cuts)?;
        crew.until(sent.len()).await?;
        let starts: Vec<(Instant, Instant)> =
            sent.iter().filter_map(|(id, due)| Some((*due, crew.tally.time_of(*id)?))).collect();
        let mut seconds = vec![0usize; usize::try_from(self.seconds)?];
        for (_, begun) in &starts {
            if let Some(count) = seconds.get_mut(usize::try_from(begun.duration_since(began).as_secs())?) {
                *count += 1;
            }
        }
        let mut waits: Vec<f64> = starts.iter().map(|(due, begun)| (*begun - *due).as_secs_f64()).collect();
        run.set("connections_cut", cut as f64);
        run.set("tasks_in_the_worst_second", seconds.iter().min().copied().unwrap_or_default() as f64);
        run.set_latencies("due_to_start", &mut waits);
        crew.dismiss().await?;
        Ok(run)
    }
}

/// Two tasks are due at a time, at 200 a second.
const BEAT: Duration = Duration::from_millis(10);

impl Cuts {
    /// Returns each task, and when it was due.
    async fn produce(&self, ground: &Ground, began: Instant, end: Instant) -> anyhow::Result<Vec<(Uuid, Instant)>> {
        let pool = ground.connect(1).await?;
        let info = info::<Noop>()?;
        let (mut sent, mut beat) = (Vec::new(), 0u32);
        while began + BEAT * beat < end {
            let due = began + BEAT * beat;
            tokio::time::sleep_until(due.into()).await;
            beat += 1;
            let wanted = (beat as f64 * BEAT.as_secs_f64() * self.rate as f64) as usize - sent.len();
            let tasks: Vec<NewTask> =
                (0..wanted).map(|_| NewTask::new(ground.clock.new_id(), info, json!({}))).collect();
            while let Err(error) = enqueue(&pool, &tasks).await {
                if is_passing(&error) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                } else if error.as_database_error().is_some_and(DatabaseError::is_unique_violation) {
                    // The answer was lost, not the tasks.
                    break;
                } else {
                    return Err(error.into());
                }
            }
            sent.extend(tasks.iter().map(|task| (task.id, due)));
        }
        pool.close().await;
        Ok(sent)
    }
}
