//! Which tasks someone watches: only their changes are told on
//! [`super::wakeup::PROGRESS`], so that tasks that nobody watches cost nothing.

use std::time::Duration;

use sqlx::PgExecutor;
use uuid::Uuid;

/// Enters tasks that this API process watches from now on, or goes on watching.
/// Changes committed by statements that began before are not told: read the
/// tasks afterwards, and again a second later.
///
/// # Errors
/// If the database does not answer.
pub async fn watch(
    executor: impl PgExecutor<'_>,
    watcher: Uuid,
    tasks: &[Uuid],
    lifetime: Duration,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO longhaul.watched AS known (id, watcher, until)
         SELECT DISTINCT id, $2, now() + $3 * interval '1 second' FROM unnest($1::uuid[]) AS id
         ON CONFLICT (id, watcher) DO UPDATE SET until = excluded.until",
    )
    .bind(tasks)
    .bind(watcher)
    .bind(lifetime.as_secs_f64())
    .execute(executor)
    .await?;
    Ok(())
}

/// Strikes tasks that this process no longer watches.
///
/// # Errors
/// If the database does not answer.
pub async fn unwatch(executor: impl PgExecutor<'_>, watcher: Uuid, tasks: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM longhaul.watched WHERE id = ANY ($1) AND watcher = $2")
        .bind(tasks)
        .bind(watcher)
        .execute(executor)
        .await?;
    Ok(())
}

/// Strikes what processes that vanished have left. Returns how many rows.
///
/// # Errors
/// If the database does not answer.
pub async fn purge(executor: impl PgExecutor<'_>) -> sqlx::Result<u64> {
    let done = sqlx::query("DELETE FROM longhaul.watched WHERE until < now()").execute(executor).await?;
    Ok(done.rows_affected())
}

/// Strikes everything that this process watches: it stops.
///
/// # Errors
/// If the database does not answer.
pub async fn leave(executor: impl PgExecutor<'_>, watcher: Uuid) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM longhaul.watched WHERE watcher = $1").bind(watcher).execute(executor).await?;
    Ok(())
}
