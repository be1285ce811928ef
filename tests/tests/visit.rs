//! A task type for tests of connections.

use longhaul_model::{Outcome, RunContext, RunError, TaskType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Runs until it is cancelled if it `stays`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Visit {
    pub(crate) stays: bool,
}

impl TaskType for Visit {
    const NAME: &'static str = "Visit";
    const ID_PREFIX: &'static str = "visit-";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        if self.stays {
            context.cancellation().cancelled().await;
            return Ok(Outcome::Cancelled);
        }
        Ok(Outcome::done())
    }
}
