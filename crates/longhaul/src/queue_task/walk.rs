//! Changes every task that matches a filter.

use std::future::Future;

use longhaul_model::store::cancel::lock_free;
use longhaul_model::store::find::TaskFilter;
use longhaul_model::uuid::Uuid;
use longhaul_model::{Outcome, RunContext, RunError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Postgres, Transaction};

/// The change of the matching tasks.
pub(super) trait BulkAction: Send + Sync {
    /// The counts of the results; the completed task's `Result`.
    type Counts: Serialize + DeserializeOwned + Default + Clone + Send + Sync;
    /// The message while it runs.
    const MESSAGE: &'static str;

    /// Does it to these tasks, in this order; `own` is the task that does it.
    fn apply(
        connection: &mut PgConnection,
        own: Uuid,
        ids: &[Uuid],
        counts: &mut Self::Counts,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// Tasks of the table that one statement looks at.
const WINDOW: i64 = 10_000;
/// Tasks that are dealt with in one transaction.
const AT_ONCE: usize = 200;

/// Where to continue.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Checkpoint<C> {
    /// Number of tasks that matched at the start; absent until they are counted.
    total: Option<i64>,
    /// The last task that was processed.
    after: Uuid,
    processed: i64,
    counts: C,
}

pub(super) struct Walk<D: BulkAction> {
    filter: TaskFilter,
    context: RunContext,
    at: Checkpoint<D::Counts>,
}

impl<D: BulkAction> Walk<D> {
    /// Changes every matching task that was accepted before this one, so never itself. A batch and
    /// its checkpoint are one transaction: nothing is done or counted twice.
    pub(super) async fn run(filter: TaskFilter, context: RunContext) -> Result<Outcome, RunError> {
        let at = context.checkpoint()?.unwrap_or_default();
        let mut walk = Walk::<D> { filter, context, at };
        if walk.at.total.is_none() && !walk.count().await? {
            return Ok(Outcome::Cancelled);
        }
        walk.context.progress().set_total(walk.at.total.unwrap_or(0));
        walk.context.progress().set_message(D::MESSAGE);
        loop {
            let found = walk.find(walk.at.after).await?;
            let Some(last) = found.last else { break };
            for batch in found.ids.chunks(AT_ONCE) {
                if walk.context.cancellation().is_cancelled() {
                    return Ok(Outcome::Cancelled);
                }
                walk.batch(batch).await?;
            }
            walk.at.after = last;
        }
        Outcome::with_result(&walk.at.counts)
    }

    async fn find(&self, after: Uuid) -> sqlx::Result<longhaul_model::store::find::Found> {
        self.filter.find(self.context.pool(), after, self.context.task_id(), WINDOW).await
    }

    /// `false` if it was asked to stop.
    async fn count(&mut self) -> Result<bool, RunError> {
        self.context.progress().set_message("Counting tasks");
        let (mut total, mut after) = (0, Uuid::nil());
        loop {
            let found = self.find(after).await?;
            total += i64::try_from(found.ids.len()).unwrap_or(0);
            match found.last {
                Some(last) if !self.context.cancellation().is_cancelled() => after = last,
                Some(_) => return Ok(false),
                None => break,
            }
        }
        self.at.total = Some(total);
        Ok(true)
    }

    /// What someone else has locked comes last, each alone.
    async fn batch(&mut self, ids: &[Uuid]) -> Result<(), RunError> {
        let Some(last) = ids.last().copied() else { return Ok(()) };
        let mut transaction = self.begin().await?;
        let free = lock_free(&mut transaction, ids).await?;
        let mut next = self.at.clone();
        D::apply(&mut transaction, self.context.task_id(), &free, &mut next.counts).await?;
        next.processed += i64::try_from(free.len()).unwrap_or(0);
        let locked: Vec<Uuid> = ids.iter().copied().filter(|id| !free.contains(id)).collect();
        if locked.is_empty() {
            next.after = last;
        }
        self.commit(transaction, next).await?;
        for id in &locked {
            let mut transaction = self.begin().await?;
            let mut next = self.at.clone();
            D::apply(&mut transaction, self.context.task_id(), &[*id], &mut next.counts).await?;
            next.processed += 1;
            if Some(id) == locked.last() {
                next.after = last;
            }
            self.commit(transaction, next).await?;
        }
        Ok(())
    }

    /// Locks our own lease and row first, because the rescuer locks leases before tasks.
    async fn begin(&self) -> Result<Transaction<'static, Postgres>, RunError> {
        let mut transaction = self.context.pool().begin().await?;
        self.context.save_checkpoint_in(&mut transaction, &self.at).await?;
        Ok(transaction)
    }

    async fn commit(
        &mut self,
        mut transaction: Transaction<'static, Postgres>,
        next: Checkpoint<D::Counts>,
    ) -> Result<(), RunError> {
        self.context.progress().set_processed(next.processed);
        self.context.save_checkpoint_in(&mut transaction, &next).await?;
        transaction.commit().await?;
        self.at = next;
        Ok(())
    }
}
