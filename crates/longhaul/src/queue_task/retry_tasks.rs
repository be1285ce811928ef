//! `RetryTasks`: runs every task that fits a filter again.

use std::borrow::Cow;

use longhaul_api::access::permission::MANAGE_TASKS;
use longhaul_model::store::cancel::{Retried, retry_each};
use longhaul_model::uuid::Uuid;
use longhaul_model::{CreateContext, CreateError, Outcome, Progress, RunContext, RunError, TaskType};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::QUEUE;
use super::filter::{EndState, Filter};
use super::walk::{Deed, Walk};

/// Runs the failed and cancelled tasks that fit again, as `POST …/retry` does with
/// one: from their last checkpoints, with as many attempts as their types allow. Tasks
/// that are accepted after it are left alone, and so is it itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RetryTasks(pub Filter<EndState>);

/// The filter's members stand at the top.
impl JsonSchema for RetryTasks {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed(Self::NAME)
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Filter::<EndState>::json_schema(generator)
    }
}

/// What became of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Counts {
    /// They are queued again.
    queued: i64,
    /// Another open task has their unique key.
    taken: i64,
    /// Someone else ran them again first.
    open: i64,
}

struct Retry;

impl Deed for Retry {
    type Counts = Counts;
    const MESSAGE: &'static str = "Running tasks again";

    async fn apply(connection: &mut PgConnection, ids: &[Uuid], counts: &mut Counts) -> sqlx::Result<()> {
        for retried in retry_each(connection, ids).await? {
            match retried {
                Retried::Queued => counts.queued += 1,
                Retried::Taken => counts.taken += 1,
                Retried::Open | Retried::Succeeded => counts.open += 1,
            }
        }
        Ok(())
    }
}

impl TaskType for RetryTasks {
    const NAME: &'static str = "RetryTasks";
    const ID_PREFIX: &'static str = "retrytasks_";
    const QUEUE: &'static str = QUEUE;

    async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        // A worker could not ask whether the caller may still start each of its own.
        context.require(MANAGE_TASKS)?;
        self.0.check(context).await?;
        Ok(Progress::unknown().with_message("Waiting to run tasks again"))
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        Walk::<Retry>::run(self.0.to_store(), context).await
    }
}
