//! Everything about one task, for people.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use super::list::{Listed, listed};

/// One task and what lists have no room for.
#[derive(Debug, Clone, PartialEq)]
pub struct Detail {
    /// The task.
    pub listed: Listed,
    /// What was asked for, as the view shows it.
    pub parameters: Value,
    /// What it would go on from.
    pub checkpoint: Option<Value>,
    /// Attempts that did not succeed, newest first, [`ATTEMPTS`] at most.
    pub failures: Vec<Failure>,
}

/// An attempt that did not succeed.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Failure {
    /// Its number.
    pub attempt: i16,
    /// Who ran it.
    pub worker: Option<String>,
    /// When it ended.
    pub failed_at: DateTime<Utc>,
    /// How long it ran, if that is known.
    pub duration_ms: Option<i64>,
    /// What clients are told: an RFC 9457 problem object.
    pub error: Value,
}

/// So many failed attempts are shown.
pub const ATTEMPTS: i64 = 50;

/// The task with this guid, or `None` if it is unknown or flushed.
///
/// # Errors
/// When the database does not answer.
pub async fn detail(pool: &PgPool, id: Uuid) -> sqlx::Result<Option<Detail>> {
    let Some(listed) = listed(pool, &[id]).await?.pop() else { return Ok(None) };
    let stored: Option<(Value, Option<Value>)> =
        sqlx::query_as("SELECT parameters, checkpoint FROM longhaul.tasks WHERE id = $1")
            .bind(id)
            .fetch_optional(pool)
            .await?;
    let Some((parameters, checkpoint)) = stored else { return Ok(None) };
    // The cause is for the operator's eyes: it is in the table, not on pages.
    let failures = sqlx::query_as(
        "SELECT e.attempt, w.name AS worker, e.failed_at, e.duration_ms, e.error - 'cause' AS error
           FROM longhaul.attempt_error e LEFT JOIN longhaul.worker w ON w.id = e.worker_id
          WHERE e.task_id = $1 ORDER BY e.attempt DESC, e.failed_at DESC LIMIT $2",
    )
    .bind(id)
    .bind(ATTEMPTS)
    .fetch_all(pool)
    .await?;
    Ok(Some(Detail { listed, parameters, checkpoint, failures }))
}
