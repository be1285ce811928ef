//! Parts of workers that fail repeatedly.

use sqlx::{FromRow, PgExecutor};

/// A service or the lanes of a worker at work, whose runs fail.
#[derive(Debug, Clone, FromRow)]
pub struct Trouble {
    /// The worker's name.
    pub worker: String,
    /// The service, or `lanes`: claims and the storing of ends.
    pub part: String,
    /// Runs that have failed since the last one that succeeded, as of the last note.
    pub failures: i32,
    /// For how long.
    pub seconds: f64,
    /// The last error.
    pub error: String,
}

/// The error's text is cut to so many characters.
const ERROR_AT_MOST: i32 = 1_000;

/// Notes that a part of a worker has failed so often in a row.
///
/// # Errors
/// If the database does not answer.
pub async fn note(
    executor: impl PgExecutor<'_>,
    worker_id: i32,
    part: &str,
    failures: u32,
    error: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO longhaul.trouble AS t (worker_id, part, failures, error) VALUES ($1, $2, $3, left($4, $5))
         ON CONFLICT (worker_id, part) DO UPDATE
            SET failures = excluded.failures, error = excluded.error, noted_at = excluded.noted_at",
    )
    .bind(worker_id)
    .bind(part)
    .bind(i32::try_from(failures).unwrap_or(i32::MAX))
    .bind(error)
    .bind(ERROR_AT_MOST)
    .execute(executor)
    .await?;
    Ok(())
}

/// It has succeeded.
///
/// # Errors
/// If the database does not answer.
pub async fn is_over(executor: impl PgExecutor<'_>, worker_id: i32, part: &str) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM longhaul.trouble WHERE worker_id = $1 AND part = $2")
        .bind(worker_id)
        .bind(part)
        .execute(executor)
        .await?;
    Ok(())
}

/// What troubles workers that are at work.
///
/// # Errors
/// If the database does not answer.
pub async fn list(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<Trouble>> {
    sqlx::query_as(
        "SELECT w.name AS worker, t.part, t.failures, t.error,
                extract(epoch FROM now() - greatest(least(t.since, now()), '0001-01-01Z'))::float8 AS seconds
           FROM longhaul.trouble t JOIN longhaul.worker w ON w.id = t.worker_id
          WHERE w.lost_at IS NULL AND w.stopped_at IS NULL
          ORDER BY t.failures DESC, w.id, t.part LIMIT 100",
    )
    .fetch_all(executor)
    .await
}
