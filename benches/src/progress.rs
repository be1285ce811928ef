//! `longhaul-benches progress`

use std::time::Duration;

use clap::Args;
use longhaul_worker::Settings;
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::chatter::Chatter;
use crate::crew::Crew;
use crate::ground::Ground;
use crate::meter::Meter;
use crate::noop::Noop;
use crate::queue_tables::counters;
use crate::report::Run;
use crate::tally::Tally;
use crate::workload::Measure;

/// Drains tasks that do nothing while others, in the same worker, report their
/// progress many times a second; and the same with others that wake up as often
/// and say nothing.
#[derive(Debug, Args)]
pub(crate) struct Progress {
    #[command(flatten)]
    bench: BenchArgs,
    /// How many tasks are drained.
    #[arg(long, default_value_t = 200_000)]
    tasks: usize,
    /// How many tasks report meanwhile.
    #[arg(long, default_value_t = 1_000)]
    running: usize,
    /// How often each of them reports, a second.
    #[arg(long, default_value_t = 100)]
    reports: u32,
    /// Seconds for which they report and nothing else happens, to see whether the
    /// table grows.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

impl Measure for Progress {
    const NAME: &'static str = "progress";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        json!({"tasks": self.tasks, "running": self.running, "reports_per_second": self.reports,
               "seconds": self.seconds})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let mut run = Run::default();
        let silent = self.drain(ground, &mut run, true).await?;
        let reporting = self.drain(ground, &mut run, false).await?;
        run.set("throughput_kept", reporting / silent);
        Ok(run)
    }
}

impl Progress {
    async fn drain(&self, ground: &Ground, run: &mut Run, silent: bool) -> anyhow::Result<f64> {
        let prefix = if silent { "silent_" } else { "reporting_" };
        ground.clear().await?;
        ground.store(&Chatter { reports_per_second: self.reports, silent }, self.running).await?;
        ground.settle().await?;
        let settings = Settings { slots: self.running + 200, ..Settings::default() };
        let crew = Crew::start(ground, Tally::default(), settings).await?;
        while crate::queue_tables::stored(&ground.pool).await?.1 > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if !silent {
            // The first flush of each row may move it once.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let before = counters(&ground.pool).await?;
            let alone = Meter::start(ground).await?;
            tokio::time::sleep(Duration::from_secs_f64(self.seconds)).await;
            let stretch = alone.stop(ground).await?;
            let after = counters(&ground.pool).await?;
            run.set("table_bytes_before", before.task_bytes as f64);
            run.set("table_bytes_after", after.task_bytes as f64);
            let reports = self.running as f64 * f64::from(self.reports) * stretch.seconds;
            run.set("wal_bytes_per_report", stretch.wal_bytes() / reports);
            if let Some(seconds) = stretch.postgres_cpu() {
                run.set("postgres_cpu_share", seconds / stretch.seconds);
            }
        }
        let meter = Meter::start(ground).await?;
        ground.store(&Noop {}, self.tasks).await?;
        crew.until(self.tasks).await?;
        let stretch = meter.stop(ground).await?;
        crew.dismiss().await?;
        let rate = self.tasks as f64 / stretch.seconds;
        run.set(format!("{prefix}tasks_per_second"), rate);
        stretch.costs(ground, run, prefix, self.tasks).await?;
        Ok(rate)
    }
}
