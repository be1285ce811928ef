//! Cancelling tasks and running them again by hand: what the API's routes and the
//! dashboard's buttons share, so that both follow the same rules and are written down
//! alike.

use std::collections::{HashMap, HashSet};

use actix_web::ResponseError;
use longhaul_model::store::audit::record;
use longhaul_model::store::cancel::{
    Cancelled, Chosen, Reached, Retried, cancel, chosen, lock_free, reached_by_cancel, reached_by_retry, retry,
    retry_within,
};
use longhaul_model::store::failure::sqlstate;
use longhaul_model::store::read::{Sight, Task};
use longhaul_model::{Batch, Holder, TaskType};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::access::permission::MANAGE_TASKS;
use crate::endpoint::{find_managed, unknown_task};
use crate::error::{AfterChange, FORBIDDEN};
use crate::{ApiError, App, Caller};

/// What is done to tasks that were chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskAction {
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
        let allowed = self.allowed_again(caller, &[task.id]).await?;
        let mut transaction = self.pool().begin().await?;
        let public_id = format!("{id_prefix}{}", task.id);
        let outcome = retried(caller, &mut transaction, task.id, &public_id, &task.type_name, &allowed).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    /// Cancels tasks or runs them again: those of them that there are and that the caller
    /// manages. How many were changed.
    ///
    /// # Errors
    /// 403 if one is to run again that the caller could not start now, or a part of it; nothing
    /// is changed then.
    pub async fn change_tasks(&self, caller: &Caller, ids: &[Uuid], action: TaskAction) -> Result<usize, ApiError> {
        let found = chosen(self.pool(), ids, caller.sight(&[MANAGE_TASKS])).await?;
        let found_ids: Vec<Uuid> = found.iter().map(|task| task.id).collect();
        let allowed = match action {
            TaskAction::Retry => self.allowed_again(caller, &found_ids).await?,
            TaskAction::Cancel => Allowed::All,
        };
        let mut changed = 0;
        let mut transaction = self.pool().begin().await?;
        // Those that a worker writes just now come last, each waited for.
        let free = lock_free(&mut transaction, &found_ids).await?;
        for task in found.iter().filter(|task| free.contains(&task.id)) {
            changed += usize::from(change(caller, &mut transaction, task, action, &allowed).await?);
        }
        transaction.commit().await?;
        for task in found.iter().filter(|task| !free.contains(&task.id)) {
            let mut transaction = self.pool().begin().await.after_some_changes()?;
            changed +=
                usize::from(change(caller, &mut transaction, task, action, &allowed).await.after_some_changes()?);
            transaction.commit().await.after_some_changes()?;
        }
        Ok(changed)
    }

    /// Which tasks the caller may run again when it runs these again: of what would run again
    /// with them, its own, as far as it could start them now. What waited for one of these and
    /// is not among them stays as it ended, and so does what waited for that.
    ///
    /// # Errors
    /// 403 if it could not start one of these now, or one of the parts of a batch, which can't
    /// run again without it.
    async fn allowed_again(&self, caller: &Caller, ids: &[Uuid]) -> Result<Allowed, ApiError> {
        if caller.may(MANAGE_TASKS) {
            return Ok(Allowed::All);
        }
        let sight = caller.sight(&[MANAGE_TASKS]);
        let mut asked: HashMap<Uuid, Option<ApiError>> = HashMap::new();
        self.ask_again(caller, ids, &mut asked).await?;
        if let Some(refusal) = ids.iter().find_map(|id| asked.get_mut(id).and_then(Option::take)) {
            return Err(refusal);
        }
        let mut left = Vec::new();
        loop {
            let reached = reached_by_retry(self.pool(), ids, sight, &left).await?;
            let new: Vec<Uuid> = reached.iter().map(|task| task.id).filter(|id| !asked.contains_key(id)).collect();
            self.ask_again(caller, &new, &mut asked).await?;
            let before = left.len();
            let refused = |task: &&Reached| !task.is_part && asked.get(&task.id).is_some_and(Option::is_some);
            left.extend(reached.iter().filter(refused).map(|task| task.id));
            if left.len() > before {
                // What they led to may not be reached any more.
                continue;
            }
            for part in reached.iter().filter(|task| task.is_part) {
                if !caller.manages(part.created_by.as_deref()) {
                    return Err(part_of_others());
                }
                if let Some(refusal) = asked.get_mut(&part.id).and_then(Option::take) {
                    return Err(refusal);
                }
            }
            let these = ids.iter().copied().chain(reached.iter().map(|task| task.id)).collect();
            return Ok(Allowed::These { these, left });
        }
    }

    /// Asks whether the caller could start these tasks now; what refused each is added.
    async fn ask_again(
        &self,
        caller: &Caller,
        ids: &[Uuid],
        asked: &mut HashMap<Uuid, Option<ApiError>>,
    ) -> Result<(), ApiError> {
        for some in ids.chunks(PARAMETERS_AT_ONCE) {
            for task in chosen(self.pool(), some, Sight::All).await? {
                // No worker runs a batch itself: its parts are asked for.
                let allowed = if task.type_name == Batch::NAME {
                    Ok(())
                } else {
                    let holder = Holder::Task { id: task.id, created_by: task.created_by.as_deref() };
                    self.must_be_allowed(caller, &task.type_name, task.parameters, holder).await
                };
                match allowed {
                    // That nobody can tell now is no refusal.
                    Err(error) if error.status_code().is_server_error() => return Err(error),
                    allowed => asked.insert(task.id, allowed.err()),
                };
            }
        }
        Ok(())
    }
}

/// So many tasks have their parameters read at once.
const PARAMETERS_AT_ONCE: usize = 100;

/// Which tasks a caller may run again.
enum Allowed {
    All,
    /// These; and of what waited for them, nothing of others and not what is `left`.
    These {
        these: HashSet<Uuid>,
        left: Vec<Uuid>,
    },
}

fn part_of_others() -> ApiError {
    let detail = format!(
        "A child of this batch belongs to another caller, and retrying a batch retries all of its children that did \
         not succeed. This requires the permission {MANAGE_TASKS}."
    );
    ApiError::new(FORBIDDEN, detail)
}

fn just_changed() -> ApiError {
    ApiError::unavailable("The tasks that would be retried with it have just changed; nothing was done. Try again.")
}

/// Whether it was changed.
async fn change(
    caller: &Caller,
    transaction: &mut PgConnection,
    task: &Chosen,
    action: TaskAction,
    allowed: &Allowed,
) -> Result<bool, ApiError> {
    let Chosen { id, public_id, type_name, .. } = task;
    Ok(match action {
        TaskAction::Cancel => {
            cancelled(caller, transaction, *id, public_id, type_name).await?.is_some_and(|was| was != Cancelled::Ended)
        }
        TaskAction::Retry => {
            retried(caller, transaction, *id, public_id, type_name, allowed).await? == Some(Retried::Queued)
        }
    })
}

/// Cancels it, and writes down who did, if there was something to cancel, and its children
/// that are cancelled with it.
async fn cancelled(
    caller: &Caller,
    transaction: &mut PgConnection,
    id: Uuid,
    public_id: &str,
    type_name: &str,
) -> sqlx::Result<Option<Cancelled>> {
    let reached = match caller.created_by() {
        Some(_) => reached_by_cancel(&mut *transaction, &[id]).await?,
        None => Vec::new(),
    };
    let outcome = cancel(&mut *transaction, id).await?;
    if outcome.is_some_and(|outcome| outcome != Cancelled::Ended) {
        note(caller, transaction, "cancelTask", (public_id, type_name), &reached).await?;
    }
    Ok(outcome)
}

/// Runs it again, and writes down who did, if it does, and what runs again with it.
///
/// # Errors
/// 503 if by now something would run again with it that is not among the allowed.
async fn retried(
    caller: &Caller,
    transaction: &mut PgConnection,
    id: Uuid,
    public_id: &str,
    type_name: &str,
    allowed: &Allowed,
) -> Result<Option<Retried>, ApiError> {
    let (reached, outcome) = match allowed {
        Allowed::All => {
            let reached = match caller.created_by() {
                Some(_) => reached_by_retry(&mut *transaction, &[id], Sight::All, &[]).await?,
                None => Vec::new(),
            };
            (reached, retry(&mut *transaction, id).await?)
        }
        Allowed::These { these, left } => {
            let reached = reached_by_retry(&mut *transaction, &[id], caller.sight(&[MANAGE_TASKS]), left).await?;
            if reached.iter().any(|task| !these.contains(&task.id)) {
                return Err(just_changed());
            }
            let only_of: Vec<Uuid> = these.iter().copied().collect();
            let outcome = retry_within(&mut *transaction, id, &only_of).await;
            // A part of a batch has ended meanwhile.
            (reached, outcome.map_err(|error| if is_denied(&error) { just_changed() } else { error.into() })?)
        }
    };
    if outcome == Some(Retried::Queued) {
        note(caller, transaction, "retryTask", (public_id, type_name), &reached).await?;
    }
    Ok(outcome)
}

/// SQLSTATE insufficient_privilege.
fn is_denied(error: &sqlx::Error) -> bool {
    sqlstate(error).as_deref() == Some("42501")
}

/// Writes down what is done to a task and to those that it reaches, each in a row.
async fn note(
    caller: &Caller,
    transaction: &mut PgConnection,
    deed: &str,
    (public_id, type_name): (&str, &str),
    reached: &[Reached],
) -> sqlx::Result<()> {
    let own = caller.audit_entry(deed, public_id, Some(json!({"Type": type_name})));
    let others = reached.iter().filter_map(|task| {
        let details = json!({"Type": task.type_name, "Through": public_id});
        caller.audit_entry(deed, task.public_id.as_str(), Some(details))
    });
    record(transaction, &own.into_iter().chain(others).collect::<Vec<_>>()).await
}
