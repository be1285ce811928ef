//! Cancelling and retrying by hand.

use serde_json::Value;
use sqlx::{FromRow, PgConnection, PgExecutor};
use uuid::Uuid;

use super::read::Sight;
use super::stored::ShownJson;

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
    let said: Option<String> = sqlx::query_scalar("SELECT longhaul.cancel($1)").bind(id).fetch_one(executor).await?;
    Ok(said.as_deref().map(Cancelled::read))
}

impl Cancelled {
    fn read(word: &str) -> Self {
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
    /// It has had as many attempts as can be counted (32,767).
    Exhausted,
}

/// Runs a failed or cancelled task again (`longhaul.retry`); `None` if there is
/// none.
///
/// # Errors
/// When the database does not answer.
pub async fn retry(executor: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Retried>> {
    let said: Option<String> = sqlx::query_scalar("SELECT longhaul.retry($1)").bind(id).fetch_one(executor).await?;
    Ok(said.as_deref().map(Retried::read))
}

/// The same for the task and, of what would run again with it, only for these
/// (`longhaul.retry_within`): what waited for it and is not among them stays as it ended.
///
/// # Errors
/// When the database does not answer, or a part of a batch is not among them.
pub async fn retry_within(executor: impl PgExecutor<'_>, id: Uuid, only_of: &[Uuid]) -> sqlx::Result<Option<Retried>> {
    let said: Option<String> =
        sqlx::query_scalar("SELECT longhaul.retry_within($1, $2)").bind(id).bind(only_of).fetch_one(executor).await?;
    Ok(said.as_deref().map(Retried::read))
}

impl Retried {
    fn read(word: &str) -> Self {
        match word {
            "Queued" => Retried::Queued,
            "Open" => Retried::Open,
            "Taken" => Retried::Taken,
            "Exhausted" => Retried::Exhausted,
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
    /// Who asked for it.
    pub created_by: Option<String>,
    /// As they are stored: secrets are sealed.
    #[sqlx(try_from = "ShownJson")]
    pub parameters: Value,
}

/// Tasks `t` of this source by the names that people know, with one more column, in the order of their
/// ids. The view `longhaul.tasks` makes the same public id, and shows no sealed parameters.
macro_rules! named {
    ($more:literal, $source:literal, $condition:literal) => {
        concat!(
            "SELECT t.id, coalesce(k.id_prefix, lower(t.type) || '-') || t.id AS public_id, t.type, t.created_by, ",
            $more,
            " FROM ",
            $source,
            " LEFT JOIN longhaul.task_type k ON k.name = t.type ",
            $condition,
            " ORDER BY t.id"
        )
    };
}

/// Those of these tasks that there are and are in sight, in the order of their ids.
///
/// # Errors
/// When the database does not answer.
pub async fn chosen(executor: impl PgExecutor<'_>, ids: &[Uuid], sight: Sight<'_>) -> sqlx::Result<Vec<Chosen>> {
    sqlx::query_as(named!(
        "t.parameters",
        "longhaul.task t",
        "WHERE t.id = ANY ($1) AND ($2::text IS NULL OR t.created_by = $2)"
    ))
    .bind(ids)
    .bind(sight.created_by())
    .fetch_all(executor)
    .await
}

/// A task that running others again, or cancelling them, reaches, too.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Reached {
    /// Its guid.
    pub id: Uuid,
    /// Its id as people see it.
    pub public_id: String,
    /// Its type's name.
    #[sqlx(rename = "type")]
    pub type_name: String,
    /// Who asked for it.
    pub created_by: Option<String>,
    /// It is a part of a batch that runs again, which can't do so without it.
    pub is_part: bool,
}

/// The other tasks that [`retry`] of these runs again (`longhaul.reached_by_retry`): parts
/// of a batch that did not succeed, and what ended because of one, and so on. With
/// `sight`, what waited for one is passed over if it is someone else's, and so is what
/// `without` names; parts never are.
///
/// # Errors
/// When the database does not answer.
pub async fn reached_by_retry(
    executor: impl PgExecutor<'_>,
    ids: &[Uuid],
    sight: Sight<'_>,
    without: &[Uuid],
) -> sqlx::Result<Vec<Reached>> {
    sqlx::query_as(named!(
        "r.is_part",
        "longhaul.reached_by_retry($1, $2, $3) r JOIN longhaul.task t ON t.id = ANY (ARRAY[r.id])",
        ""
    ))
    .bind(ids)
    .bind(sight.created_by())
    .bind(without)
    .fetch_all(executor)
    .await
}

/// The open children of these tasks, and theirs, and so on
/// (`longhaul.reached_by_cancel`): what [`cancel`] cancels, too. What waits for one of them
/// ends or runs as its own `IfFailed` says, as after any end.
///
/// # Errors
/// When the database does not answer.
pub async fn reached_by_cancel(executor: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<Vec<Reached>> {
    sqlx::query_as(named!(
        "true AS is_part",
        "longhaul.reached_by_cancel($1) r JOIN longhaul.task t ON t.id = ANY (ARRAY[r.id])",
        ""
    ))
    .bind(ids)
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
/// there are. The audit has each of them, and what is cancelled with them, as a deed of
/// whoever the task `through` is by.
///
/// # Errors
/// When the database does not answer.
pub async fn cancel_through(
    transaction: &mut PgConnection,
    through: Uuid,
    ids: &[Uuid],
) -> sqlx::Result<Vec<Cancelled>> {
    let said: Vec<Option<String>> = sqlx::query_scalar("SELECT longhaul.cancel_through($1, $2)")
        .bind(through)
        .bind(ids)
        .fetch_all(transaction)
        .await?;
    Ok(said.iter().flatten().map(|said| Cancelled::read(said)).collect())
}

/// Runs failed or cancelled tasks again, one after the other in this order, as
/// [`retry`] does; those that there are. The audit is told as by [`cancel_through`].
///
/// # Errors
/// When the database does not answer.
pub async fn retry_through(transaction: &mut PgConnection, through: Uuid, ids: &[Uuid]) -> sqlx::Result<Vec<Retried>> {
    let said: Vec<Option<String>> = sqlx::query_scalar("SELECT longhaul.retry_through($1, $2)")
        .bind(through)
        .bind(ids)
        .fetch_all(transaction)
        .await?;
    Ok(said.iter().flatten().map(|said| Retried::read(said)).collect())
}

/// Which of these tasks are to stop, of those that the canceller has not set aside.
///
/// # Errors
/// When the database does not answer, or refuses one of them.
pub async fn requested_of_all(executor: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "SELECT c.task_id FROM longhaul.cancel_request c
          WHERE c.task_id = ANY (ARRAY(
                SELECT i.id FROM unnest($1::uuid[]) AS i(id)
                 WHERE i.id <> ALL (ARRAY(SELECT longhaul.aside('canceller')))))",
    )
    .bind(ids)
    .fetch_all(executor)
    .await
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
