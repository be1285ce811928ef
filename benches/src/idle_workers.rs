//! `longhaul-benches idle-workers`

use std::time::Duration;

use clap::Args;
use longhaul_worker::Settings;
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::crew::Crew;
use crate::ground::Ground;
use crate::meter::Meter;
use crate::queue_tables;
use crate::report::Run;
use crate::tally::Tally;
use crate::workload::Measure;

/// What workers that have nothing to do cost the server, with settings as they are by default.
/// Each has some twelve connections: the private server allows for fifteen workers, more need a
/// server with a larger `max_connections` (`--database-url`).
#[derive(Debug, Args)]
pub(crate) struct IdleWorkers {
    #[command(flatten)]
    bench: BenchArgs,
    /// How many workers.
    #[arg(long, default_value_t = 12)]
    workers: usize,
    /// For how many seconds they are watched.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// They are left alone so many seconds before: their first connections come and go.
    #[arg(long, default_value_t = 30.0)]
    settle: f64,
}

impl Measure for IdleWorkers {
    const NAME: &'static str = "idle-workers";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        json!({"workers": self.workers, "seconds": self.seconds})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let mut run = Run::default();
        ground.clear().await?;
        ground.settle().await?;
        let mut crews = Vec::new();
        for number in 0..self.workers {
            let settings = Settings { name: format!("idle-{number}"), ..Settings::default() };
            crews.push(Crew::start(ground, Tally::default(), settings).await?);
        }
        tokio::time::sleep(Duration::from_secs_f64(self.settle)).await;
        let registered = queue_tables::workers(&ground.pool).await?;
        anyhow::ensure!(registered == i64::try_from(self.workers)?, "{registered} workers are registered");
        let meter = Meter::start(ground).await?;
        tokio::time::sleep(Duration::from_secs_f64(self.seconds)).await;
        let connections = queue_tables::connections(&ground.pool).await?;
        let stretch = meter.stop(ground).await?;
        run.set("connections_per_worker", connections as f64 / self.workers.max(1) as f64);
        if let Some(seconds) = stretch.postgres_cpu() {
            run.set("postgres_cpu_share_of_a_core", seconds / stretch.seconds);
        }
        run.set("wal_bytes_per_second", stretch.wal_bytes() / stretch.seconds);
        for crew in crews {
            crew.dismiss().await?;
        }
        Ok(run)
    }
}
