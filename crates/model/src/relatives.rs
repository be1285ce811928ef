//! Related tasks of a handler's task: a handler can start children and wait for them, and read the
//! results of its children and dependencies.

use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::store::enqueue::NewTask;
use crate::store::linked::{self, Family, LinkError, Relative};
use crate::{Keyring, RunContext, RunError, TaskType};

impl RunContext {
    /// Starts one child for each of these parameters (a map over a list) and saves a checkpoint, in
    /// one transaction: after a crash the next attempt finds the checkpoint and does not start them
    /// again. Then return [`Outcome::AwaitChildren`](crate::Outcome::AwaitChildren): the handler
    /// runs again, from that checkpoint, when all children have completed. One statement stores all
    /// children. Their `create` steps do not run, and their unique keys are ignored.
    ///
    /// ```
    /// # use longhaul_model::{Outcome, RunContext, RunError, TaskType, schemars, serde};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, schemars::JsonSchema)]
    /// # struct Thumbnail { image: u32 }
    /// # impl TaskType for Thumbnail {
    /// #     const NAME: &'static str = "Thumbnail";
    /// #     const ID_PREFIX: &'static str = "thumbnail_";
    /// #     async fn run(self, _context: RunContext) -> Result<Outcome, RunError> { Ok(Outcome::done()) }
    /// # }
    /// # #[derive(Serialize, Deserialize, schemars::JsonSchema)]
    /// # struct Album { images: Vec<u32> }
    /// impl TaskType for Album {
    /// #   const NAME: &'static str = "Album";
    /// #   const ID_PREFIX: &'static str = "album_";
    ///     // …
    ///     async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
    ///         if context.checkpoint::<bool>()?.is_none() {
    ///             context.fan_out(self.images.iter().map(|image| Thumbnail { image: *image }), &true).await?;
    ///             return Ok(Outcome::AwaitChildren);
    ///         }
    ///         let ended = context.family().await?;
    ///         Outcome::with_result(ended.succeeded)
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// If the lease is lost, the database fails, a value can't be written as JSON, or this attempt
    /// used [`save_checkpoint`](RunContext::save_checkpoint).
    pub async fn fan_out<T: TaskType>(
        &self,
        children: impl IntoIterator<Item = T>,
        checkpoint: &impl Serialize,
    ) -> Result<(), RunError> {
        let mut transaction = self.pool().begin().await?;
        // The lease is locked first, then the task, then the family.
        self.save_checkpoint_in(&mut transaction, checkpoint).await?;
        self.start_children_in(&mut transaction, children).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// As [`fan_out`](RunContext::fan_out), in the handler's own transaction, which
    /// may start children of several types. Call
    /// [`save_checkpoint_in`](RunContext::save_checkpoint_in) just before it: that
    /// locks the lease, so that a worker that has lost the task starts none.
    ///
    /// # Errors
    /// If the database fails, or a value can't be written as JSON.
    pub async fn start_children_in<T: TaskType>(
        &self,
        transaction: &mut PgConnection,
        children: impl IntoIterator<Item = T>,
    ) -> Result<(), RunError> {
        let children: Vec<T> = children.into_iter().collect();
        let tasks = match self.resources().get::<Keyring>() {
            // Secrets are sealed for the task that is to hold them.
            Some(keyring) if children.iter().any(crate::secret::has) => {
                let ids = linked::new_ids(&mut *transaction, children.len()).await?;
                ids.iter().zip(&children).map(|(id, child)| NewTask::sealed(*id, child, keyring)).collect()
            }
            // The statement that stores them makes their ids.
            _ => children
                .iter()
                .map(|child| NewTask::of(Uuid::nil(), child))
                .collect::<serde_json::Result<Vec<NewTask>>>(),
        }?;
        let tasks: Vec<NewTask> = tasks.into_iter().map(|task| NewTask { unique_key: None, ..task }).collect();
        linked::enqueue_linked(transaction, &tasks, &[], Some(self.task_id())).await.map_err(|error| match error {
            LinkError::Database(error) => RunError::from(error),
            other => RunError::from(other),
        })?;
        linked::become_parent(transaction, self.task_id()).await?;
        Ok(())
    }

    /// The completed children of this task by state; all zero if it has none.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn family(&self) -> Result<Family, RunError> {
        Ok(linked::family(self.pool(), self.task_id()).await?.unwrap_or_default())
    }

    /// This task's children in the order in which they were started, with what they
    /// returned: those after number `after` (0 for the first page), at most `limit`.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn children(&self, after: i32, limit: i64) -> Result<Vec<Relative>, RunError> {
        Ok(linked::children(self.pool(), self.task_id(), after, limit).await?)
    }

    /// The tasks that this one waited for, with what they returned: those whose
    /// guid is after `after` ([`Uuid::nil`] for the first page), at most `limit`.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn prerequisites(&self, after: Uuid, limit: i64) -> Result<Vec<Relative>, RunError> {
        Ok(linked::prerequisites(self.pool(), self.task_id(), after, limit).await?)
    }
}
