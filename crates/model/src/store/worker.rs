//! Worker processes: registering, beating, leaving.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgExecutor};
use uuid::Uuid;

use super::stored::{StoredTexts, StoredTime, StoredTimeOption};
use crate::{NAME_BYTES, bounded_text, check_text};

/// A worker's description of itself.
#[derive(Debug, Clone)]
pub struct WorkerInfo {
    /// For people: host and process id, unless configured.
    pub name: String,
    /// Of the program.
    pub version: String,
    /// The queues it serves.
    pub queues: Vec<String>,
    /// How many tasks it runs at once.
    pub slots: usize,
    /// It beats at least this often.
    pub heartbeat: Duration,
}

/// How late a beat may be, in heartbeats, before the worker is presumed dead.
/// With a look every fifth of a heartbeat its tasks are back in less than two.
pub const PATIENCE: f64 = 1.7;

/// Registers a worker; returns its id. A name longer than [`NAME_BYTES`] is cut.
///
/// # Errors
/// If the database does not answer, or the name of a queue is longer than [`NAME_BYTES`].
pub async fn register(executor: impl PgExecutor<'_>, info: &WorkerInfo) -> sqlx::Result<i32> {
    info.queues
        .iter()
        .try_for_each(|queue| check_text("The name of a queue", queue, NAME_BYTES))
        .map_err(|refused| sqlx::Error::Encode(Box::new(refused)))?;
    sqlx::query_scalar(
        "INSERT INTO longhaul.worker (name, version, queues, slots, heartbeat_ms, counts_successes)
         VALUES ($1, $2, $3, $4, $5, true) RETURNING id",
    )
    .bind(bounded_text(info.name.clone(), NAME_BYTES))
    .bind(&info.version)
    .bind(&info.queues)
    .bind(i32::try_from(info.slots).unwrap_or(i32::MAX))
    .bind(i32::try_from(info.heartbeat.as_millis()).unwrap_or(i32::MAX))
    .fetch_one(executor)
    .await
}

/// Says that the worker is alive. `false` if it has been presumed dead: its
/// leases are gone, and it must register anew.
///
/// # Errors
/// If the database does not answer.
pub async fn beat(executor: impl PgExecutor<'_>, worker_id: i32) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "UPDATE longhaul.worker SET heartbeat_at = clock_timestamp()
          WHERE id = $1 AND lost_at IS NULL AND set_config('synchronous_commit', 'off', true) IS NOT NULL",
    )
    .bind(worker_id)
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Says that the worker has stopped by itself; leases that it still has are
/// put back by the next rescue.
///
/// # Errors
/// If the database does not answer.
pub async fn stop(executor: impl PgExecutor<'_>, worker_id: i32) -> sqlx::Result<()> {
    sqlx::query("UPDATE longhaul.worker SET stopped_at = clock_timestamp() WHERE id = $1 AND stopped_at IS NULL")
        .bind(worker_id)
        .execute(executor)
        .await?;
    Ok(())
}

/// Which of these tasks, each with the number of its lease, the worker still has.
///
/// # Errors
/// If the database fails.
pub async fn still_held(
    executor: impl PgExecutor<'_>,
    worker_id: i32,
    tasks: &[(i64, Uuid)],
) -> sqlx::Result<Vec<Uuid>> {
    let (numbers, ids): (Vec<i64>, Vec<Uuid>) = tasks.iter().copied().unzip();
    sqlx::query_scalar(concat!(
        "SELECT i.id FROM unnest($2::bigint[], $3::uuid[]) AS i(lease_number, id)
           JOIN (SELECT number, task_ids FROM longhaul.lease WHERE ",
        leases!("$2"),
        ") AS l ON l.number = i.lease_number AND i.id = ANY (l.task_ids)"
    ))
    .bind(worker_id)
    .bind(numbers)
    .bind(ids)
    .fetch_all(executor)
    .await
}

/// A worker as people see it.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Worker {
    /// Its number.
    pub id: i32,
    /// For people: host and process id, unless configured.
    pub name: String,
    /// `alive`, `silent` (its heartbeat is late), `lost` (presumed dead; its tasks
    /// are with others) or `stopped`.
    pub state: String,
    /// The queues it serves.
    #[sqlx(try_from = "StoredTexts")]
    pub queues: Vec<String>,
    /// How many tasks it runs at once.
    pub slots: i32,
    /// How many it runs now.
    pub running: i64,
    /// Its last heartbeat.
    #[sqlx(try_from = "StoredTime")]
    pub heartbeat_at: DateTime<Utc>,
    /// Of its program.
    pub version: String,
    /// When it registered.
    #[sqlx(try_from = "StoredTime")]
    pub started_at: DateTime<Utc>,
    /// When it stopped, or was found lost.
    #[sqlx(try_from = "StoredTimeOption")]
    pub ended_at: Option<DateTime<Utc>>,
}

/// The workers that live and those that ended in the last `ended_within`, newest
/// first, `limit` at most; the living come first.
///
/// # Errors
/// If the database does not answer.
pub async fn list(executor: impl PgExecutor<'_>, ended_within: Duration, limit: u32) -> sqlx::Result<Vec<Worker>> {
    sqlx::query_as(
        "SELECT v.id, v.name, v.state, v.queues, v.slots, v.running, w.heartbeat_at, v.version, v.started_at,
                coalesce(v.stopped_at, v.lost_at) AS ended_at
           FROM longhaul.workers v JOIN longhaul.worker w USING (id)
          WHERE coalesce(v.stopped_at, v.lost_at, 'infinity') > now() - $1 * interval '1 microsecond'
          ORDER BY coalesce(v.stopped_at, v.lost_at, 'infinity') DESC, v.id DESC LIMIT $2",
    )
    .bind(super::whole_micros(ended_within))
    .bind(i64::from(limit))
    .fetch_all(executor)
    .await
}
