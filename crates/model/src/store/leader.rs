//! What only one process should do at a time.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgExecutor;

use super::stored::StoredJson;
use super::whole_micros;

/// The state of a leader.
#[derive(Debug, Clone, PartialEq)]
pub struct Lead {
    /// What the last run left for the next, its own or another process's.
    pub memo: Option<Value>,
    /// The database's time, in milliseconds since 1970.
    pub now_ms: i64,
}

const LEAD: &str = "
    INSERT INTO longhaul.leader AS l (name, worker_id, until)
    VALUES ($1, $2, clock_timestamp() + $3 * interval '1 microsecond')
    ON CONFLICT (name) DO UPDATE SET worker_id = excluded.worker_id, until = excluded.until
     WHERE l.worker_id = excluded.worker_id OR l.until <= clock_timestamp()
    RETURNING memo, (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// Becomes or stays the leader of `name` for `term`, by the database's clock.
/// `None` if another worker is. Needs no session, so it works through a
/// transaction pooler. A process that stops for longer than the term may find
/// that another leads meanwhile: what a leader does must be harmless when two do
/// it for a moment.
///
/// # Errors
/// If the database does not answer.
pub async fn lead(
    executor: impl PgExecutor<'_>,
    name: &str,
    worker_id: i32,
    term: Duration,
) -> sqlx::Result<Option<Lead>> {
    let row: Option<(Option<StoredJson>, i64)> =
        sqlx::query_as(LEAD).bind(name).bind(worker_id).bind(whole_micros(term)).fetch_optional(executor).await?;
    // A memo that can't be read is none.
    Ok(row.map(|(memo, now_ms)| Lead { memo: memo.and_then(|memo| memo.0.ok()), now_ms }))
}

/// Leaves something for the next run, if this worker still leads.
///
/// # Errors
/// If the database does not answer.
pub async fn remember(executor: impl PgExecutor<'_>, name: &str, worker_id: i32, memo: &Value) -> sqlx::Result<()> {
    sqlx::query("UPDATE longhaul.leader SET memo = $3 WHERE name = $1 AND worker_id = $2")
        .bind(name)
        .bind(worker_id)
        .bind(memo)
        .execute(executor)
        .await?;
    Ok(())
}

/// Lets another worker lead at once.
///
/// # Errors
/// If the database does not answer.
pub async fn resign(executor: impl PgExecutor<'_>, worker_id: i32) -> sqlx::Result<()> {
    sqlx::query("UPDATE longhaul.leader SET until = clock_timestamp() WHERE worker_id = $1")
        .bind(worker_id)
        .execute(executor)
        .await?;
    Ok(())
}
