//! `CancelTasks`: cancels every task that fits a filter.

use std::borrow::Cow;

use longhaul_model::store::cancel::{Cancelled, cancel_each};
use longhaul_model::uuid::Uuid;
use longhaul_model::{CreateContext, CreateError, Outcome, Progress, RunContext, RunError, TaskType};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::QUEUE;
use super::filter::{Filter, OpenState};
use super::walk::{Deed, Walk};

/// Cancels the open tasks that fit, as `DELETE` does with one: at once if they wait,
/// by asking their workers if they run. Tasks that are accepted after it are left
/// alone, and so is it itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CancelTasks(pub Filter<OpenState>);

/// The filter's members stand at the top.
impl JsonSchema for CancelTasks {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed(Self::NAME)
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Filter::<OpenState>::json_schema(generator)
    }
}

/// What became of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Counts {
    /// They waited, and are cancelled.
    cancelled: i64,
    /// They ran: their workers are asked to stop them.
    requested: i64,
    /// They ended first.
    ended: i64,
}

struct Cancel;

impl Deed for Cancel {
    type Counts = Counts;
    const MESSAGE: &'static str = "Cancelling tasks";

    async fn apply(connection: &mut PgConnection, ids: &[Uuid], counts: &mut Counts) -> sqlx::Result<()> {
        for cancelled in cancel_each(connection, ids).await? {
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
        Walk::<Cancel>::run(self.0.to_store(), context).await
    }
}
