//! Cancelling and retrying by hand.

use serde_json::Value;
use sqlx::{FromRow, PgConnection, PgExecutor};
use uuid::Uuid;

use super::read::Sight;

/// What became of a request to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It waited, and is cancelled now.
    AtOnce,
    /// It runs: its worker is asked to stop it.
    Requested,
    /// It is over.
    Ended,
}

/// Cancels a task (`longhaul.cancel`); `None` if there is none.
///
/// # Errors
/// When the database does not answer.
pub async fn cancel(executor: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Cancelled>> {
    let (said, ()): (Option<String>, ()) =
        sqlx::query_as("SELECT longhaul.cancel($1), longhaul.tell_watchers(ARRAY[$1])")
            .bind(id)
            .fetch_one(executor)
            .await?;
    Ok(said.as_deref().map(Cancelled::said))
}

impl Cancelled {
    fn said(word: &str) -> Self {
        match word {
            "Cancelled" => Cancelled::AtOnce,
            "Requested" => Cancelled::Requested,
            _ => Cancelled::Ended,
        }
    }
}

/// What became of a request to run a task again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// It is queued again.
    Queued,
    /// It is not over.
    Open,
    /// It ended well; nothing is to be done again.
    Succeeded,
    /// Another open task has its unique key.
    Taken,
}

/// Runs a failed or cancelled task again (`longhaul.retry`); `None` if there is
/// none.
///
/// # Errors
/// When the database does not answer.
pub async fn retry(executor: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Retried>> {
    let said: Option<String> = sqlx::query_scalar("SELECT longhaul.retry($1)").bind(id).fetch_one(executor).await?;
    Ok(said.as_deref().map(Retried::said))
}

impl Retried {
    fn said(word: &str) -> Self {
        match word {
            "Queued" => Retried::Queued,
            "Open" => Retried::Open,
            "Taken" => Retried::Taken,
            _ => Retried::Succeeded,
        }
    }
}

/// A task that was chosen to be cancelled or run again.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Chosen {
    /// Its guid.
    pub id: Uuid,
    /// Its id as people see it.
    pub public_id: String,
    /// Its type's name.
    #[sqlx(rename = "type")]
    pub type_name: String,
    /// As they are stored: secrets are sealed.
    pub parameters: Value,
}

/// Those of these tasks that there are and are in sight, in the order of their ids.
///
/// # Errors
/// When the database does not answer.
pub async fn chosen(executor: impl PgExecutor<'_>, ids: &[Uuid], sight: Sight<'_>) -> sqlx::Result<Vec<Chosen>> {
    sqlx::query_as(
        "SELECT t.id, coalesce(k.id_prefix, lower(t.type) || '-') || t.id AS public_id, t.type, t.parameters
           FROM longhaul.task t LEFT JOIN longhaul.task_type k ON k.name = t.type
          WHERE t.id = ANY ($1) AND ($2::text IS NULL OR t.created_by = $2) ORDER BY t.id",
    )
    .bind(ids)
    .bind(sight.created_by())
    .fetch_all(executor)
    .await
}

/// Locks those of these tasks that nobody else has locked, in the order in which
/// cancelling and retrying go on to lock more, and returns them. What is locked is
/// being ended, written or cancelled by someone else: take it alone, in a transaction
/// of its own, so that nobody waits for a whole batch.
///
/// # Errors
/// When the database does not answer.
pub async fn lock_free(transaction: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar("SELECT id FROM longhaul.task WHERE id = ANY ($1) ORDER BY queue, id FOR UPDATE SKIP LOCKED")
        .bind(ids)
        .fetch_all(transaction)
        .await
}

/// Cancels tasks, one after the other in this order, as [`cancel`] does; those that
/// there are.
///
/// # Errors
/// When the database does not answer.
pub async fn cancel_each(transaction: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<Cancelled>> {
    let said: Vec<Option<String>> =
        sqlx::query_scalar("SELECT longhaul.cancel(id) FROM unnest($1::uuid[]) WITH ORDINALITY AS i(id, n) ORDER BY n")
            .bind(ids)
            .fetch_all(&mut *transaction)
            .await?;
    sqlx::query("SELECT longhaul.tell_watchers($1)").bind(ids).execute(transaction).await?;
    Ok(said.iter().flatten().map(|said| Cancelled::said(said)).collect())
}

/// Runs failed or cancelled tasks again, one after the other in this order, as
/// [`retry`] does; those that there are.
///
/// # Errors
/// When the database does not answer.
pub async fn retry_each(transaction: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<Retried>> {
    let said: Vec<Option<String>> =
        sqlx::query_scalar("SELECT longhaul.retry(id) FROM unnest($1::uuid[]) WITH ORDINALITY AS i(id, n) ORDER BY n")
            .bind(ids)
            .fetch_all(transaction)
            .await?;
    Ok(said.iter().flatten().map(|said| Retried::said(said)).collect())
}

/// Which of these tasks are to stop.
///
/// # Errors
/// When the database does not answer.
pub async fn requested(executor: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar("SELECT task_id FROM longhaul.cancel_request WHERE task_id = ANY ($1)")
        .bind(ids)
        .fetch_all(executor)
        .await
}
