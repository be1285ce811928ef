//! What the two steps of a task type are given.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::attempt::{CheckpointStyle, StopReason};
use crate::limits::storable_checkpoint;
use crate::store::progress::{ProgressWrite, write_fenced};
use crate::{Attempt, CreateError, Grants, LogHandle, ProgressHandle, RunError};

/// Things that task types need from the program that hosts them (clients,
/// configuration), found by their type.
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

    /// Adds one; another of the same type is replaced.
    #[must_use]
    pub fn with<R: Any + Send + Sync>(mut self, resource: R) -> Self {
        self.by_type.insert(TypeId::of::<R>(), Box::new(resource));
        self
    }

    /// The resource of this type, if the host gave one.
    #[must_use]
    pub fn get<R: Any + Send + Sync>(&self) -> Option<&R> {
        self.by_type.get(&TypeId::of::<R>())?.downcast_ref()
    }
}

/// What `create` is given.
pub struct CreateContext {
    /// The database, where the records are.
    pub pool: PgPool,
    /// What the host provides.
    pub resources: Arc<Resources>,
    grants: Arc<Grants>,
    created_by: Option<String>,
}

impl CreateContext {
    /// For the API: the context of a request by someone with these permissions.
    /// `created_by` is who it is, the same for ever; `None` where callers need not say.
    #[must_use]
    pub fn new(pool: PgPool, resources: Arc<Resources>, grants: Arc<Grants>, created_by: Option<String>) -> Self {
        Self { pool, resources, grants, created_by }
    }

    /// Who asks for the task; `None` where callers need not say.
    #[must_use]
    pub fn created_by(&self) -> Option<&str> {
        self.created_by.as_deref()
    }

    /// Refuses the task unless whoever asks for it has this permission in all
    /// projects. A permission is a path, e.g. `TestManagement/ManageIncidents/Edit`.
    /// Task types name what they need here, before they tell anything else.
    ///
    /// # Errors
    /// [`CreateError::Forbidden`] when the permission is missing.
    pub fn require(&self, permission: &str) -> Result<(), CreateError> {
        refuse_unless(self.grants.may(permission), permission)
    }

    /// The same for a task about one project. Call it before you look whether there is
    /// such a project, so that nobody learns which there are.
    ///
    /// # Errors
    /// [`CreateError::Forbidden`] when the permission is missing.
    pub fn require_in(&self, permission: &str, project: Uuid) -> Result<(), CreateError> {
        refuse_unless(self.grants.may_in(permission, project), permission)
    }

    /// The same for a task about one project, or about all if `project` is absent.
    ///
    /// # Errors
    /// [`CreateError::Forbidden`] when the permission is missing.
    pub fn require_for(&self, permission: &str, project: Option<Uuid>) -> Result<(), CreateError> {
        match project {
            Some(project) => self.require_in(permission, project),
            None => self.require(permission),
        }
    }

    /// The same for a task about something whose project must be looked up first: it
    /// must be had in some project at least. Then ask [`may_in`](Self::may_in), and
    /// answer as if the thing were not there.
    ///
    /// # Errors
    /// [`CreateError::Forbidden`] when the permission is missing.
    pub fn require_somewhere(&self, permission: &str) -> Result<(), CreateError> {
        refuse_unless(self.grants.may_somewhere(permission), permission)
    }

    /// Whether whoever asks has this permission in this project.
    #[must_use]
    pub fn may_in(&self, permission: &str, project: Uuid) -> bool {
        self.grants.may_in(permission, project)
    }
}

fn refuse_unless(granted: bool, permission: &str) -> Result<(), CreateError> {
    if granted { Ok(()) } else { Err(CreateError::Forbidden { permission: permission.to_owned() }) }
}

/// What `run` is given: the attempt's progress, checkpoint, cancellation, and
/// the database.
pub struct RunContext {
    attempt: Arc<Attempt>,
    pool: PgPool,
    resources: Arc<Resources>,
    checkpoint: Option<serde_json::Value>,
}

impl RunContext {
    /// For the worker: the context of one attempt. `checkpoint` is what an
    /// earlier attempt saved.
    #[must_use]
    pub fn new(
        attempt: Arc<Attempt>,
        pool: PgPool,
        resources: Arc<Resources>,
        checkpoint: Option<serde_json::Value>,
    ) -> Self {
        Self { attempt, pool, resources, checkpoint }
    }

    /// Keeps these texts out of whatever the attempt says.
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

    /// Which attempt this is; 1 is the first.
    #[must_use]
    pub fn attempt(&self) -> u16 {
        self.attempt.number()
    }

    /// The database.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// What the host provides.
    #[must_use]
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// Reports how far the task is. Cheap: nothing is written until the
    /// worker's next flush (a few times a second).
    #[must_use]
    pub fn progress(&self) -> ProgressHandle<'_> {
        self.attempt.progress()
    }

    /// Writes a line for people to the task's log, e.g. what was skipped and why.
    /// Cheap, in memory, and bounded, see [`LogHandle`].
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

    /// Cancelled when someone cancels the task, when the worker has lost it to
    /// another one, or when the worker must stop. Long handlers look at it
    /// between batches.
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        self.attempt.cancellation()
    }

    /// Why the token was cancelled, if it was.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.attempt.stop_reason()
    }

    /// What an earlier attempt saved, if any.
    ///
    /// # Errors
    /// When it does not fit `C` (a newer version of the handler): the attempt
    /// fails by `?`.
    pub fn checkpoint<C: DeserializeOwned>(&self) -> Result<Option<C>, RunError> {
        Ok(self.checkpoint.clone().map(serde_json::from_value).transpose()?)
    }

    /// Saves where to go on after a crash, with the next flush of progress.
    /// For effects that must not be repeated, use
    /// [`save_checkpoint_in`](RunContext::save_checkpoint_in).
    ///
    /// # Errors
    /// When the value has no JSON form, or when this attempt already saved
    /// checkpoints in transactions: the two styles would overtake each other.
    /// Permanent ones when it is larger than [`Limits::checkpoint_bytes`]
    /// (`checkpoint-too-large`), or nothing that the database can hold: U+0000 in a
    /// text, more than 100 levels (`not-storable`). Nothing is saved then.
    ///
    /// [`Limits::checkpoint_bytes`]: crate::Limits::checkpoint_bytes
    pub fn save_checkpoint(&self, checkpoint: &impl Serialize) -> Result<(), RunError> {
        self.attempt.use_checkpoints(CheckpointStyle::Flushed)?;
        self.attempt.set_checkpoint(storable_checkpoint(checkpoint, self.attempt.limits())?);
        Ok(())
    }

    /// Saves where to go on inside the handler's own transaction, together with
    /// the effects: both happen or neither. Locks the lease first, so a worker
    /// that has lost the task can commit nothing. Call it last, just before the
    /// commit.
    ///
    /// # Errors
    /// When the lease is lost, the database fails, or this attempt already used
    /// [`save_checkpoint`](RunContext::save_checkpoint), which also says what can't
    /// be saved.
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

/// Another worker has, or will have, this task.
#[derive(Debug, thiserror::Error)]
#[error("the lease on this task is lost: it was presumed dead and its task was put back")]
pub(crate) struct LeaseLost;

/// Two styles of checkpoints in one attempt.
#[derive(Debug, thiserror::Error)]
#[error("save_checkpoint and save_checkpoint_in can't be mixed in one attempt")]
pub(crate) struct MixedCheckpoints;
