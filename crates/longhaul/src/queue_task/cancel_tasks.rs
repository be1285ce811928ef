//! `CancelTasks`: cancels every task that matches a filter.

use std::borrow::Cow;

use longhaul_model::store::cancel::{Cancelled, cancel_through};
use longhaul_model::uuid::Uuid;
use longhaul_model::{CreateContext, CreateError, Outcome, Progress, RunContext, RunError, TaskType};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::QUEUE;
use super::filter::{Filter, OpenState};
use super::walk::{BulkAction, Walk};

/// Cancels the open tasks that match, as `DELETE` does with one task: waiting tasks at once,
/// running tasks through their workers. It does not cancel itself or tasks that are accepted after
/// it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CancelTasks(pub Filter<OpenState>);

/// The filter's members are at the top level.
impl JsonSchema for CancelTasks {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed(Self::NAME)
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Filter::<OpenState>::json_schema(generator)
    }
}

/// The results.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Counts {
    /// Waiting tasks that were cancelled.
    cancelled: i64,
    /// Running tasks whose workers were asked to stop them.
    requested: i64,
    /// Tasks that completed first.
    ended: i64,
}

struct Cancel;

impl BulkAction for Cancel {
    type Counts = Counts;
    const MESSAGE: &'static str = "Cancelling tasks";

    async fn apply(connection: &mut PgConnection, own: Uuid, ids: &[Uuid], counts: &mut Counts) -> sqlx::Result<()> {
        for cancelled in cancel_through(connection, own, ids).await? {
            match cancelled {
                Cancelled::AtOnce => counts.cancelled += 1,
                Cancelled::Requested => counts.requested += 1,
                Cancelled::Ended => counts.ended += 1,
            }
        }
        Ok(())
    }
}

impl TaskType for CancelTasks {
    const NAME: &'static str = "CancelTasks";
    const ID_PREFIX: &'static str = "canceltasks_";
    const QUEUE: &'static str = QUEUE;

    async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        self.0.check(context).await?;
        Ok(Progress::unknown().with_message("Waiting to cancel tasks"))
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        Walk::<Cancel>::run(self.0.to_store()?, context).await
    }
}
