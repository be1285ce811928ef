//! Cancelling tasks and running them again by hand: what the API's routes and the
//! dashboard's buttons share, so that both follow the same rules and are written down
//! alike.

use longhaul_model::CreateError;
use longhaul_model::store::cancel::{Cancelled, Chosen, Retried, cancel, chosen, lock_free, retry};
use longhaul_model::store::read::{Sight, Task};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::access::permission::MANAGE_TASKS;
use crate::endpoint::{find_managed, unknown_task};
use crate::{ApiError, App, Caller};

/// What is done to tasks that were chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// They are cancelled.
    Cancel,
    /// Those that failed or were cancelled run again.
    Retry,
}

impl App {
    /// Cancels the task with this public id, if the caller may.
    ///
    /// # Errors
    /// 404 if there is none that it may see or manage, 403 if it may see it and no more.
    pub async fn cancel_task(&self, caller: &Caller, public_id: &str) -> Result<Cancelled, ApiError> {
        let (task, id_prefix) = find_managed(self, caller, public_id).await?;
        self.cancel_found(caller, &task, id_prefix).await?.ok_or_else(|| unknown_task(public_id))
    }

    /// Runs the task with this public id again, if the caller may.
    ///
    /// # Errors
    /// As [`cancel_task`](App::cancel_task); and 403 if the task is the caller's own and
    /// it could not start it now.
    pub async fn retry_task(&self, caller: &Caller, public_id: &str) -> Result<Retried, ApiError> {
        let (task, id_prefix) = find_managed(self, caller, public_id).await?;
        self.retry_found(caller, &task, id_prefix).await?.ok_or_else(|| unknown_task(public_id))
    }

    pub(crate) async fn cancel_found(
        &self,
        caller: &Caller,
        task: &Task,
        id_prefix: &str,
    ) -> Result<Option<Cancelled>, ApiError> {
        let mut transaction = self.pool().begin().await?;
        let public_id = format!("{id_prefix}{}", task.id);
        let outcome = cancelled(caller, &mut transaction, task.id, &public_id, &task.type_name).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    pub(crate) async fn retry_found(
        &self,
        caller: &Caller,
        task: &Task,
        id_prefix: &str,
    ) -> Result<Option<Retried>, ApiError> {
        if !caller.may(MANAGE_TASKS) {
            for own in chosen(self.pool(), &[task.id], Sight::All).await? {
                self.must_be_allowed_again(caller, &own.type_name, own.parameters).await?;
            }
        }
        let mut transaction = self.pool().begin().await?;
        let public_id = format!("{id_prefix}{}", task.id);
        let outcome = retried(caller, &mut transaction, task.id, &public_id, &task.type_name).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    /// Cancels tasks or runs them again: those of them that there are and that the caller
    /// manages. How many were changed.
    ///
    /// # Errors
    /// 403 if one is to run again that the caller could not start now; nothing is
    /// changed then.
    pub async fn change_tasks(&self, caller: &Caller, ids: &[Uuid], deed: Deed) -> Result<usize, ApiError> {
        let mut found = chosen(self.pool(), ids, caller.sight(&[MANAGE_TASKS])).await?;
        if deed == Deed::Retry && !caller.may(MANAGE_TASKS) {
            for task in &mut found {
                self.must_be_allowed_again(caller, &task.type_name, task.parameters.take()).await?;
            }
        }
        let mut changed = 0;
        let mut transaction = self.pool().begin().await?;
        // Those that a worker writes just now come last, each waited for.
        let free = lock_free(&mut transaction, &found.iter().map(|task| task.id).collect::<Vec<_>>()).await?;
        for task in found.iter().filter(|task| free.contains(&task.id)) {
            changed += usize::from(change(caller, &mut transaction, task, deed).await?);
        }
        transaction.commit().await?;
        for task in found.iter().filter(|task| !free.contains(&task.id)) {
            let mut transaction = self.pool().begin().await?;
            changed += usize::from(change(caller, &mut transaction, task, deed).await?);
            transaction.commit().await?;
        }
        Ok(changed)
    }

    /// Refuses to run a stored task of the caller's own again if it could not start it
    /// now. Parameters that its `create` step finds wrong by now do not count, unless the
    /// caller's permissions are for some projects: then "there is none" may mean that it
    /// is not in one of them.
    async fn must_be_allowed_again(&self, caller: &Caller, type_name: &str, stored: Value) -> Result<(), ApiError> {
        if caller.may_everything() {
            return Ok(());
        }
        let entry = self.inner.registry.get(type_name).map_err(ApiError::internal)?;
        match entry.create_again(stored, &self.create_context(caller)).await {
            Err(CreateError::Invalid(_) | CreateError::Impossible { .. }) if !caller.grants().are_limited() => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(()),
        }
    }
}

/// Whether it was changed.
async fn change(
    caller: &Caller,
    transaction: &mut PgConnection,
    task: &Chosen,
    deed: Deed,
) -> Result<bool, sqlx::Error> {
    let Chosen { id, public_id, type_name, .. } = task;
    Ok(match deed {
        Deed::Cancel => {
            cancelled(caller, transaction, *id, public_id, type_name).await?.is_some_and(|was| was != Cancelled::Ended)
        }
        Deed::Retry => retried(caller, transaction, *id, public_id, type_name).await? == Some(Retried::Queued),
    })
}

/// Cancels it, and writes down who did, if there was something to cancel.
async fn cancelled(
    caller: &Caller,
    transaction: &mut PgConnection,
    id: Uuid,
    public_id: &str,
    type_name: &str,
) -> sqlx::Result<Option<Cancelled>> {
    let outcome = cancel(&mut *transaction, id).await?;
    if outcome.is_some_and(|outcome| outcome != Cancelled::Ended) {
        caller.note(transaction, "cancelTask", public_id, Some(json!({"Type": type_name}))).await?;
    }
    Ok(outcome)
}

/// Runs it again, and writes down who did, if it does.
async fn retried(
    caller: &Caller,
    transaction: &mut PgConnection,
    id: Uuid,
    public_id: &str,
    type_name: &str,
) -> sqlx::Result<Option<Retried>> {
    let outcome = retry(&mut *transaction, id).await?;
    if outcome == Some(Retried::Queued) {
        caller.note(transaction, "retryTask", public_id, Some(json!({"Type": type_name}))).await?;
    }
    Ok(outcome)
}
