//! A task that does nothing.

use longhaul_model::{Outcome, RunContext, RunError, TaskType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tally::Tally;

/// Does nothing but be counted.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Noop {}

impl TaskType for Noop {
    const NAME: &'static str = "Noop";
    const ID_PREFIX: &'static str = "noop-";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        if let Some(tally) = context.resources().get::<Tally>() {
            tally.begun(context.task_id());
        }
        Ok(Outcome::done())
    }
}
