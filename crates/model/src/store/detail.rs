//! Everything about one task, for people.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use super::list::{Listed, More};
use super::read::{Sight, TaskRow, read_task};
use super::stored::{ShownJson, StoredTime};
use super::why::Reason;

/// One task and what lists have no room for.
#[derive(Debug, Clone, PartialEq)]
pub struct Detail {
    /// The task.
    pub listed: Listed,
    /// What was asked for, as the view shows it: secrets are redacted.
    pub parameters: Value,
    /// Its checkpoint.
    pub checkpoint: Option<Value>,
    /// Why it waits, the reason to look at first first; empty unless it waits.
    pub reasons: Vec<Reason>,
    /// Failed attempts, newest first, at most [`ATTEMPTS`].
    pub failures: Vec<Failure>,
}

/// An attempt that did not succeed.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Failure {
    /// Its number.
    pub attempt: i16,
    /// Who ran it.
    pub worker: Option<String>,
    /// When it completed.
    #[sqlx(try_from = "StoredTime")]
    pub failed_at: DateTime<Utc>,
    /// How long it ran, if that is known.
    pub duration_ms: Option<i64>,
    /// The error that clients see: an RFC 9457 problem object.
    #[sqlx(try_from = "ShownJson")]
    pub error: Value,
}

/// So many failed attempts are shown.
pub const ATTEMPTS: i64 = 50;

#[derive(FromRow)]
struct DetailRow {
    #[sqlx(flatten)]
    task: TaskRow,
    #[sqlx(flatten)]
    more: More,
    parameters: ShownJson,
    checkpoint: Option<ShownJson>,
    reasons: Option<Json<Vec<Reason>>>,
    has_failures: bool,
}

/// One statement, so that the task is in the state whose reasons are told.
macro_rules! read_detail {
    ($where:literal) => {
        read_task!(
            ", v.public_id, v.queue, v.priority, v.max_attempts, t.key, v.worker, v.started_at, v.last_error,
               coalesce(v.tags, '{}') AS tags, extract(epoch FROM v.timeout)::float8 AS timeout_seconds, v.parameters, v.checkpoint,
               EXISTS (SELECT FROM longhaul.attempt_error e WHERE e.task_id = v.id) AS has_failures,
               CASE WHEN t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')
                    THEN (SELECT jsonb_agg(jsonb_build_object('Code', w.code, 'Says', w.says, 'Details', w.details) ORDER BY w.place)
                            FROM longhaul.why(v.id) WITH ORDINALITY AS w(code, says, details, place)) END AS reasons",
            $where
        )
    };
}

/// Returns the task with this guid, or `None` if it is unknown or deleted.
///
/// # Errors
/// If the database does not answer.
pub async fn detail(pool: &PgPool, id: Uuid) -> sqlx::Result<Option<Detail>> {
    let row: Option<DetailRow> = sqlx::query_as(read_detail!("v.id = $1")).bind(id).fetch_optional(pool).await?;
    whole(pool, row).await
}

/// The task with this guid and of this type, if there is one and it is in sight, as
/// [`task_in_sight`](super::read::task_in_sight).
///
/// # Errors
/// If the database does not answer.
pub async fn detail_in_sight(
    pool: &PgPool,
    id: Uuid,
    type_name: &str,
    sight: Sight<'_>,
) -> sqlx::Result<Option<Detail>> {
    let row: Option<DetailRow> =
        sqlx::query_as(read_detail!("v.id = $1 AND v.type = $2 AND ($3::text IS NULL OR v.created_by = $3)"))
            .bind(id)
            .bind(type_name)
            .bind(sight.created_by())
            .fetch_optional(pool)
            .await?;
    whole(pool, row).await
}

async fn whole(pool: &PgPool, row: Option<DetailRow>) -> sqlx::Result<Option<Detail>> {
    let Some(DetailRow { task, more, parameters, checkpoint, reasons, has_failures }) = row else { return Ok(None) };
    let task = task.into_task()?;
    let failures = if has_failures { failures(pool, task.id).await? } else { Vec::new() };
    Ok(Some(Detail {
        listed: Listed { task, more },
        parameters: parameters.into(),
        checkpoint: checkpoint.map(Value::from),
        reasons: reasons.map(|reasons| reasons.0).unwrap_or_default(),
        failures,
    }))
}

async fn failures(pool: &PgPool, id: Uuid) -> sqlx::Result<Vec<Failure>> {
    // The cause is for the operator's eyes: it is in the table, not on pages.
    let mut failures: Vec<Failure> = sqlx::query_as(
        "SELECT e.attempt, w.name AS worker, e.failed_at, e.duration_ms,
                CASE jsonb_typeof(e.error) WHEN 'object' THEN e.error - 'cause' ELSE e.error END AS error
           FROM longhaul.attempt_error e LEFT JOIN longhaul.worker w ON w.id = e.worker_id
          WHERE e.task_id = $1 ORDER BY e.attempt DESC, e.failed_at DESC LIMIT $2",
    )
    .bind(id)
    .bind(ATTEMPTS)
    .fetch_all(pool)
    .await?;
    for failure in &mut failures {
        failure.error = ShownJson(failure.error.take()).into_problem();
    }
    Ok(failures)
}
