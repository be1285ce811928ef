//! Queues: pausing and limits.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{FromRow, PgExecutor, PgPool};

use super::failure::detail;
use super::stored::StoredTimeOption;
use crate::{ParameterError, has_nul};

/// Settings of a queue, changeable while it runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueSettings {
    /// Whether it is paused: no task starts, and running tasks continue.
    pub paused: bool,
    /// Max concurrent: at most this many of its tasks run at once, over the whole fleet.
    pub max_running: Option<i32>,
    /// Max concurrent per key: at most this many of each key.
    pub max_per_key: Option<i32>,
    /// Share fairly between keys: keys take turns.
    pub fair: bool,
    /// Start at most N every S seconds.
    pub rate: Option<(i32, f64)>,
    /// Max waiting: while this many tasks wait in it, the HTTP API stores no more there.
    pub max_waiting: Option<i32>,
}

/// The current state of a queue.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Ready tasks.
    pub ready: i64,
    /// Held tasks.
    pub held: i64,
    /// Scheduled tasks.
    pub scheduled: i64,
    /// Running tasks, without those that a worker has claimed ahead of its free slots.
    pub running: i64,
    /// Since when it is paused, if it is.
    #[sqlx(try_from = "StoredTimeOption")]
    pub paused_at: Option<DateTime<Utc>>,
    /// See [`QueueSettings::max_running`].
    pub max_running: Option<i32>,
    /// See [`QueueSettings::max_per_key`].
    pub max_per_key: Option<i32>,
    /// See [`QueueSettings::fair`].
    pub fair: bool,
    /// See [`QueueSettings::rate`].
    pub rate_count: Option<i32>,
    /// See [`QueueSettings::rate`].
    pub rate_seconds: Option<f64>,
    /// See [`QueueSettings::max_waiting`].
    pub max_waiting: Option<i32>,
    /// Live workers that serve it.
    pub workers: i64,
}

/// Every queue that a task type, a worker, or a setting names, or that has open tasks; or one
/// of them.
///
/// # Errors
/// If the database does not answer.
pub async fn list(executor: impl PgExecutor<'_>, name: Option<&str>) -> sqlx::Result<Vec<Queue>> {
    // A text of the database can't have U+0000, so no queue is called so.
    if name.is_some_and(|name| name.contains('\0')) {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "SELECT q.queue AS name, q.ready, q.held, q.scheduled, q.running, s.paused_at, s.max_running, s.max_per_key,
                coalesce(s.fair, false) AS fair, s.rate_count, s.rate_seconds, s.max_waiting, q.workers
           FROM longhaul.queues q LEFT JOIN longhaul.queue s ON s.name = q.queue
          WHERE $1::text IS NULL OR q.queue = $1
          ORDER BY q.queue",
    )
    .bind(name)
    .fetch_all(executor)
    .await
}

/// The names of the same queues, in order.
///
/// # Errors
/// If the database does not answer.
pub async fn names(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("SELECT queue FROM longhaul.queue_names ORDER BY queue").fetch_all(executor).await
}

/// A queue in which as many tasks wait as may ([`QueueSettings::max_waiting`]).
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct FullQueue {
    /// Its name.
    pub name: String,
    /// How many may wait in it.
    pub max_waiting: i32,
}

const ANY_MAX_WAITING: &str = "SELECT EXISTS (SELECT FROM longhaul.queue WHERE max_waiting IS NOT NULL)";

const FULL: &str = "
    SELECT q.name, q.max_waiting
      FROM longhaul.queue q
     WHERE (SELECT count(*) FROM (SELECT FROM longhaul.ready r WHERE r.queue = q.name
                                  UNION ALL
                                  SELECT FROM longhaul.held h WHERE h.queue = q.name
                                  LIMIT greatest(q.max_waiting, 0)) AS waiting) >= q.max_waiting";

/// The queues that are full. Ready tasks wait, and held ones; scheduled and blocked tasks do not
/// yet. Counts no further than the limits, and nothing where no queue has one. Gives up after two
/// seconds.
///
/// # Errors
/// If the database does not answer in time.
pub async fn full(pool: &PgPool) -> sqlx::Result<Vec<FullQueue>> {
    if !sqlx::query_scalar::<_, bool>(ANY_MAX_WAITING).fetch_one(pool).await? {
        return Ok(Vec::new());
    }
    let mut transaction = pool.begin().await?;
    sqlx::raw_sql("SET LOCAL statement_timeout = '2s'; SET LOCAL jit = off").execute(&mut *transaction).await?;
    let full = sqlx::query_as(FULL).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(full)
}

/// Why the settings of a queue were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// They can't be so: everything that is wrong, with JSON pointers into the change.
    #[error("the queue can't be changed so: {}", .0.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join(" "))]
    Refused(Vec<ParameterError>),
    /// The database does not answer, or refuses the queue's name.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Changes those settings of a queue that `change` names (`Paused`, `MaxRunning`, `MaxPerKey`,
/// `Fair`, `RateCount`, `RateSeconds`, `MaxWaiting`), by `longhaul.change_queue`, which alone says what they
/// may be; null takes a limit away. What is not named stays as it is, whoever changes it
/// meanwhile. Effective once it is committed, over the whole fleet.
///
/// # Errors
/// [`ChangeError`].
pub async fn change(executor: impl PgExecutor<'_>, name: &str, change: &Value) -> Result<(), ChangeError> {
    // A jsonb of the database can't have U+0000, and no setting is a text.
    if has_nul(change) {
        let message = "The character U+0000 can't be stored; omit it.".to_owned();
        return Err(ChangeError::Refused(vec![ParameterError { pointer: String::new(), message }]));
    }
    let done = sqlx::query("SELECT longhaul.change_queue($1, $2)").bind(name).bind(change).execute(executor).await;
    done.map(|_| ()).map_err(|error| {
        let wrong = detail(&error).and_then(|detail| serde_json::from_str(detail).ok());
        wrong.map_or(ChangeError::Database(error), ChangeError::Refused)
    })
}

/// Sets all settings of a queue at once, as [`change`] does with some.
///
/// # Errors
/// [`ChangeError`].
pub async fn set(executor: impl PgExecutor<'_>, name: &str, settings: &QueueSettings) -> Result<(), ChangeError> {
    let all = json!({
        "Paused": settings.paused,
        "MaxRunning": settings.max_running,
        "MaxPerKey": settings.max_per_key,
        "Fair": settings.fair,
        "RateCount": settings.rate.map(|(count, _)| count),
        "RateSeconds": settings.rate.map(|(_, seconds)| seconds),
        "MaxWaiting": settings.max_waiting,
    });
    change(executor, name, &all).await
}

/// Pauses or resumes a task type (`longhaul.pause_type`).
///
/// # Errors
/// If the database does not answer, or there is no such type.
pub async fn pause_type(executor: impl PgExecutor<'_>, name: &str, paused: bool) -> sqlx::Result<()> {
    sqlx::query("SELECT longhaul.pause_type($1, $2)").bind(name).bind(paused).execute(executor).await?;
    Ok(())
}
