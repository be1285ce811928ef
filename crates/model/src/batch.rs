//! The task that only waits for its children.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problem::NOT_RUNNABLE;
use crate::{
    CreateContext, CreateError, Outcome, ParameterError, Progress, RetryPolicy, RunContext, RunError, TaskType,
};

/// The parent of the tasks of one request (`POST /api/backgroundtasks/batch` with `Parent`): its
/// progress is the sum of theirs, and it completes when the last of them has. No worker runs it.
/// Every API process knows this type.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {}

impl TaskType for Batch {
    const NAME: &'static str = "Batch";
    const ID_PREFIX: &'static str = "batch_";
    const RETRY: RetryPolicy = RetryPolicy { max_attempts: 1, ..RetryPolicy::DEFAULT };

    async fn create(&self, _context: &CreateContext) -> Result<Progress, CreateError> {
        Err(CreateError::Invalid(vec![ParameterError {
            pointer: "/Type".to_owned(),
            message: "A Batch needs children: POST them to /api/backgroundtasks/batch, with the member Parent."
                .to_owned(),
        }]))
    }

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Err(RunError::permanent(NOT_RUNNABLE, "A Batch has no handler; it waits for its children."))
    }
}
