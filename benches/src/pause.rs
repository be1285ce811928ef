//! A task that waits.

use std::time::Duration;

use longhaul_model::{Outcome, RunContext, RunError, TaskType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tally::Tally;

/// Occupies a slot for some time, as a task that calls another service does.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pause {
    pub(crate) milliseconds: u64,
}

impl TaskType for Pause {
    const NAME: &'static str = "Pause";
    const ID_PREFIX: &'static str = "pause-";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        tokio::time::sleep(Duration::from_millis(self.milliseconds)).await;
        if let Some(tally) = context.resources().get::<Tally>() {
            tally.begun(context.task_id());
        }
        Ok(Outcome::done())
    }
}
