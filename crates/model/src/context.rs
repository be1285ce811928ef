//! The contexts of the two steps of a task type.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::attempt::StopReason;
use crate::checkpoint_style::CheckpointStyle;
use crate::limits::storable_checkpoint;
use crate::store::progress::{ProgressWrite, write_fenced};
use crate::store::read::maker;
use crate::{Attempt, CreateError, Grants, LogHandle, ProgressHandle, RunError};

/// Resources that task types need from their program (clients, configuration), found by their type.
#[derive(Default)]
pub struct Resources {
    by_type: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
}

impl Resources {
    /// No resources.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a resource. It replaces another one of the same type.
    #[must_use]
    pub fn with<R: Any + Send + Sync>(mut self, resource: R) -> Self {
        self.by_type.insert(TypeId::of::<R>(), Box::new(resource));
        self
    }

    /// The resource of this type, if the program added one.
    #[must_use]
    pub fn get<R: Any + Send + Sync>(&self) -> Option<&R> {
        self.by_type.get(&TypeId::of::<R>())?.downcast_ref()
    }
}

/// The context of `create`.
pub struct CreateContext {
    /// The database, where the records are.
    pub pool: PgPool,
    /// The program's resources.
    pub resources: Arc<Resources>,
    grants: Arc<Grants>,
    created_by: Option<String>,
}

impl CreateContext {
    /// For the API: the context of a request with these permissions. `created_by` is the caller's
    /// permanent name; `None` without authentication.
    #[must_use]
    pub fn new(pool: PgPool, resources: Arc<Resources>, grants: Arc<Grants>, created_by: Option<String>) -> Self {
        Self { pool, resources, grants, created_by }
    }

    /// The creator of the task; `None` without authentication.
    #[must_use]
    pub fn created_by(&self) -> Option<&str> {
        self.created_by.as_deref()
    }

    /// Refuses the task unless the caller has this permission in all projects. A permission is a
    /// path, e.g. `TestManagement/ManageIncidents/Edit`. Task types check permissions before they
    /// reveal anything else.
    ///
    /// # Errors
    /// [`CreateError::Forbidden`] if the permission is missing.
    pub fn require(&self, permission: &str) -> Result<(), CreateError> {
        refuse_unless(self.grants.may(permission), permission)
    }

    /// The same for a task about one project. Call it before you look up the project, so that
    /// callers can't find out which projects exist.
    ///
    /// # Errors
    /// [`CreateError::Forbidden`] if the permission is missing.
    pub fn require_in(&self, permission: &str, project: Uuid) -> Result<(), CreateError> {
        refuse_unless(self.grants.may_in(permission, project), permission)
    }

    /// The same for a task about one project, or about all if `project` is absent.
    ///
    /// # Errors
    /// [`CreateError::Forbidden`] if the permission is missing.
    pub fn require_for(&self, permission: &str, project: Option<Uuid>) -> Result<(), CreateError> {
        match project {
            Some(project) => self.require_in(permission, project),
            None => self.require(permission),
        }
    }

    /// The same for a task about a record whose project must be looked up first: the caller must
    /// have the permission in at least one project. Then check [`may_in`](Self::may_in), and if it
    /// fails, answer as if the record did not exist.
    ///
    /// # Errors
    /// [`CreateError::Forbidden`] if the permission is missing.
    pub fn require_somewhere(&self, permission: &str) -> Result<(), CreateError> {
        refuse_unless(self.grants.may_somewhere(permission), permission)
    }

    /// Whether the caller has this permission in this project.
    #[must_use]
    pub fn may_in(&self, permission: &str, project: Uuid) -> bool {
        self.grants.may_in(permission, project)
    }
}

fn refuse_unless(granted: bool, permission: &str) -> Result<(), CreateError> {
    if granted { Ok(()) } else { Err(CreateError::Forbidden { permission: permission.to_owned() }) }
}

/// The context of `run`: the attempt's progress, checkpoint and cancellation, and the database.
pub struct RunContext {
    attempt: Arc<Attempt>,
    pool: PgPool,
    resources: Arc<Resources>,
    checkpoint: Option<serde_json::Value>,
}

impl RunContext {
    /// For the worker: the context of one attempt. `checkpoint` was saved by an earlier attempt.
    #[must_use]
    pub fn new(
        attempt: Arc<Attempt>,
        pool: PgPool,
        resources: Arc<Resources>,
        checkpoint: Option<serde_json::Value>,
    ) -> Self {
        Self { attempt, pool, resources, checkpoint }
    }

    /// Redacts these texts in everything that the attempt reports.
    pub(crate) fn hide(&self, secrets: Vec<String>) {
        self.attempt.hide(secrets);
    }

    /// The task's id as clients see it.
    #[must_use]
    pub fn public_id(&self) -> &str {
        self.attempt.public_id()
    }

    /// The task's guid.
    #[must_use]
    pub fn task_id(&self) -> uuid::Uuid {
        self.attempt.id()
    }

    /// The creator of the task: a caller of the API, `schedule:` and a name, or `sql:` and a
    /// database role; `None` without authentication. Reads it from the database.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn created_by(&self) -> Result<Option<String>, RunError> {
        Ok(maker(&self.pool, self.task_id()).await?)
    }

    /// The number of the attempt; 1 is the first.
    #[must_use]
    pub fn attempt(&self) -> u16 {
        self.attempt.number()
    }

    /// The database.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The program's resources.
    #[must_use]
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// Reports the task's progress. Cheap: the worker writes it with its next flush (a few times a
    /// second).
    #[must_use]
    pub fn progress(&self) -> ProgressHandle<'_> {
        self.attempt.progress()
    }

    /// Writes lines to the task's log, e.g. about skipped elements. Cheap, in memory, and bounded,
    /// see [`LogHandle`].
    ///
    /// ```
    /// # fn run(context: longhaul_model::RunContext, key: &str) {
    /// context.log().warn(format_args!("{key} has no name; it was left out"));
    /// # }
    /// ```
    #[must_use]
    pub fn log(&self) -> LogHandle<'_> {
        self.attempt.log()
    }

    /// A token that is cancelled when someone cancels the task, when the worker has lost the lease,
    /// or when the worker must stop. Long handlers check it between batches.
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        self.attempt.cancellation()
    }

    /// The reason why the token was cancelled, if it was.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.attempt.stop_reason()
    }

    /// The checkpoint of an earlier attempt, if any.
    ///
    /// # Errors
    /// If it can't be read as `C`, for example after an upgrade of the handler. With `?` the
    /// attempt fails.
    pub fn checkpoint<C: DeserializeOwned>(&self) -> Result<Option<C>, RunError> {
        Ok(self.checkpoint.clone().map(serde_json::from_value).transpose()?)
    }

    /// Saves where to continue after a crash, with the next flush of progress. For effects that
    /// must not be repeated, use [`save_checkpoint_in`](RunContext::save_checkpoint_in).
    ///
    /// # Errors
    /// If the value can't be written as JSON, or if this attempt already saved checkpoints in
    /// transactions: the two styles would overtake each other. Permanent errors if it is larger
    /// than [`Limits::checkpoint_bytes`] (`checkpoint-too-large`), or if the database can't store
    /// it: U+0000 in a text, more than 100 levels (`not-storable`). Then nothing is saved.
    ///
    /// [`Limits::checkpoint_bytes`]: crate::Limits::checkpoint_bytes
    pub fn save_checkpoint(&self, checkpoint: &impl Serialize) -> Result<(), RunError> {
        self.attempt.use_checkpoints(CheckpointStyle::Flushed)?;
        self.attempt.set_checkpoint(storable_checkpoint(checkpoint, self.attempt.limits())?);
        Ok(())
    }

    /// Saves where to continue inside the handler's own transaction, together with its effects:
    /// both happen or neither. Locks the lease first, so that a worker that has lost the task can't
    /// commit anything. Call it last, just before the commit.
    ///
    /// # Errors
    /// If the lease is lost, the database fails, or this attempt already used
    /// [`save_checkpoint`](RunContext::save_checkpoint), whose errors also apply.
    pub async fn save_checkpoint_in(
        &self,
        transaction: &mut PgConnection,
        checkpoint: &impl Serialize,
    ) -> Result<(), RunError> {
        self.attempt.use_checkpoints(CheckpointStyle::InTransaction)?;
        let checkpoint = self.attempt.json_without_secrets(storable_checkpoint(checkpoint, self.attempt.limits())?);
        let write = ProgressWrite { checkpoint: Some(checkpoint), ..self.attempt.snapshot() };
        let written = write_fenced(transaction, self.attempt.lease().worker_id, &[write]).await?;
        if written.contains(&self.attempt.id()) {
            Ok(())
        } else {
            self.attempt.stop(StopReason::LeaseLost);
            Err(LeaseLost.into())
        }
    }
}

/// The lease is lost: another worker has this task, or will have it.
#[derive(Debug, thiserror::Error)]
#[error("the lease on this task is lost: its worker was presumed dead and the task was returned to the queue")]
pub(crate) struct LeaseLost;
