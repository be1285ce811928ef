//! What a workload is, and how it is run.

use longhaul::stop_signal;
use serde_json::Value;

use crate::args::BenchArgs;
use crate::ground::Ground;
use crate::report::{Report, Run};

/// One workload.
pub(crate) trait Measure {
    /// As on the command line.
    const NAME: &'static str;

    fn args(&self) -> &BenchArgs;

    /// The sizes, for the report.
    fn parameters(&self) -> Value;

    /// One run; called several times on the same ground.
    async fn run(&self, ground: &Ground) -> anyhow::Result<Run>;
}

/// Runs a workload as often as asked for, and prints what it measured.
pub(crate) async fn measure<M: Measure>(workload: M) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let ground = Ground::prepare(workload.args()).await?;
    let runs = async {
        let mut runs = Vec::new();
        for number in 1..=workload.args().runs {
            eprintln!("{}: run {number} of {} …", M::NAME, workload.args().runs);
            runs.push(workload.run(&ground).await?);
        }
        Report::new(M::NAME, workload.parameters(), &ground, runs).await
    };
    let result = tokio::select! {
        report = runs => report,
        () = stop.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    ground.clear_away().await?;
    let report = result?;
    if workload.args().json {
        println!("{}", report.json())
    } else {
        print!("{}", report.table())
    }
    Ok(())
}
