//! `RetryTasks`: retries every task that matches a filter.

use std::borrow::Cow;

use longhaul_api::access::permission::MANAGE_TASKS;
use longhaul_model::store::cancel::{Retried, retry_through};
use longhaul_model::uuid::Uuid;
use longhaul_model::{CreateContext, CreateError, Outcome, Progress, RunContext, RunError, TaskType};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::QUEUE;
use super::filter::{EndState, Filter};
use super::walk::{BulkAction, Walk};

/// Retries the failed and cancelled tasks that match, as `POST …/retry` does with one task: from
/// their last checkpoints, with as many attempts as their types allow. It does not retry itself or
/// tasks that are accepted after it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RetryTasks(pub Filter<EndState>);

/// The filter's members are at the top level.
impl JsonSchema for RetryTasks {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed(Self::NAME)
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Filter::<EndState>::json_schema(generator)
    }
}

/// The results.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Counts {
    /// Tasks that were queued again.
    queued: i64,
    /// Tasks whose unique key another open task has.
    taken: i64,
    /// Tasks that another request retried first.
    open: i64,
}

struct Retry;

impl BulkAction for Retry {
    type Counts = Counts;
    const MESSAGE: &'static str = "Retrying tasks";

    async fn apply(connection: &mut PgConnection, own: Uuid, ids: &[Uuid], counts: &mut Counts) -> sqlx::Result<()> {
        for retried in retry_through(connection, own, ids).await? {
            match retried {
                Retried::Queued => counts.queued += 1,
                Retried::Taken => counts.taken += 1,
                // One that has no attempt left stays as it is, as one that someone else has.
                Retried::Open | Retried::Succeeded | Retried::Exhausted => counts.open += 1,
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
        Ok(Progress::unknown().with_message("Waiting to retry tasks"))
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        Walk::<Retry>::run(self.0.to_store()?, context).await
    }
}
