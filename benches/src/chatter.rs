//! A task that reports its progress all the time.

use std::time::Duration;

use longhaul_model::{Outcome, RunContext, RunError, TaskType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// Wakes up at a rate and says how far it is, until the benchmark is over. A
/// silent one wakes up as often and says nothing, so that the two differ by
/// the reports alone.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chatter {
    pub(crate) reports_per_second: u32,
    pub(crate) silent: bool,
}

/// In the worker's resources: tells these tasks to end.
#[derive(Clone, Default)]
pub(crate) struct Over(pub(crate) CancellationToken);

impl TaskType for Chatter {
    const NAME: &'static str = "Chatter";
    const ID_PREFIX: &'static str = "chatter-";
    /// They are at work before the others begin.
    const PRIORITY: u8 = 0;

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let over = context.resources().get::<Over>().cloned().unwrap_or_default().0;
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / self.reports_per_second.max(1));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        context.progress().set_total(1_000_000);
        loop {
            tokio::select! {
                _ = ticks.tick() => if !self.silent { context.progress().advance(1) },
                () = over.cancelled() => return Ok(Outcome::done()),
            }
        }
    }
}
