//! Cancelling and retrying by hand.

use sqlx::PgExecutor;
use uuid::Uuid;

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
    Ok(said.map(|said| match said.as_str() {
        "Cancelled" => Cancelled::AtOnce,
        "Requested" => Cancelled::Requested,
        _ => Cancelled::Ended,
    }))
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
    Ok(said.map(|said| match said.as_str() {
        "Queued" => Retried::Queued,
        "Open" => Retried::Open,
        "Taken" => Retried::Taken,
        _ => Retried::Succeeded,
    }))
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
