//! What a handler can do with tasks that belong to its own: start children and
//! wait for them, and read what its children and prerequisites returned.

use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::store::enqueue::NewTask;
use crate::store::linked::{self, Family, LinkError, Relative};
use crate::{Keyring, RunContext, RunError, TaskType};

impl RunContext {
    /// Starts one child for each of these parameters (a map over a list), and saves
    /// a checkpoint, both or neither: after a crash the next attempt finds the
    /// checkpoint and does not start them again. Then return
    /// [`Outcome::AwaitChildren`](crate::Outcome::AwaitChildren): the handler runs
    /// again, from that checkpoint, when all of them have ended. However many
    /// children, they are stored by one statement; their `create` steps do not run
    /// and their unique keys are not looked at.
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
    /// When the lease is lost, the database fails, something has no JSON form, or
    /// this attempt used [`save_checkpoint`](RunContext::save_checkpoint).
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
    /// When the database fails, or something has no JSON form.
    pub async fn start_children_in<T: TaskType>(
        &self,
        transaction: &mut PgConnection,
        children: impl IntoIterator<Item = T>,
    ) -> Result<(), RunError> {
        // The statement that stores them makes their ids.
        let keyring = self.resources().get::<Keyring>();
        let new = |child: T| {
            let task = match keyring {
                Some(keyring) => NewTask::sealed(Uuid::nil(), &child, keyring)?,
                None => NewTask::of(Uuid::nil(), &child)?,
            };
            Ok(NewTask { unique_key: None, ..task })
        };
        let tasks = children.into_iter().map(new).collect::<serde_json::Result<Vec<NewTask>>>()?;
        linked::enqueue_linked(transaction, &tasks, &[], Some(self.task_id())).await.map_err(|error| match error {
            LinkError::Database(error) => RunError::from(error),
            other => RunError::from(other),
        })?;
        linked::become_parent(transaction, self.task_id()).await?;
        Ok(())
    }

    /// How this task's children ended so far; all zero if it has none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn family(&self) -> Result<Family, RunError> {
        Ok(linked::family(self.pool(), self.task_id()).await?.unwrap_or_default())
    }

    /// This task's children in the order in which they were started, with what they
    /// returned: those after number `after` (0 for the first page), at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn children(&self, after: i32, limit: i64) -> Result<Vec<Relative>, RunError> {
        Ok(linked::children(self.pool(), self.task_id(), after, limit).await?)
    }

    /// The tasks that this one waited for, with what they returned: those whose
    /// guid is after `after` ([`Uuid::nil`] for the first page), at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prerequisites(&self, after: Uuid, limit: i64) -> Result<Vec<Relative>, RunError> {
        Ok(linked::prerequisites(self.pool(), self.task_id(), after, limit).await?)
    }
}
