//! Queues: pausing and limits.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgExecutor, PgPool};

/// Settings of a queue, changeable while it runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueSettings {
    /// None of its tasks begins; those that run go on.
    pub paused: bool,
    /// At most this many of its tasks run at once, over the whole fleet.
    pub max_running: Option<i32>,
    /// At most this many of each key.
    pub max_per_key: Option<i32>,
    /// Keys take turns.
    pub fair: bool,
    /// At most this many begin in so many seconds.
    pub rate: Option<(i32, f64)>,
}

/// A queue as it is now.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Tasks that may run now.
    pub ready: i64,
    /// Tasks that the gate holds.
    pub held: i64,
    /// Tasks whose time has not come.
    pub scheduled: i64,
    /// Tasks at work.
    pub running: i64,
    /// Since when it is paused, if it is.
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
}

impl Queue {
    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> QueueSettings {
        QueueSettings {
            paused: self.paused_at.is_some(),
            max_running: self.max_running,
            max_per_key: self.max_per_key,
            fair: self.fair,
            rate: self.rate_count.zip(self.rate_seconds),
        }
    }
}

/// Every queue that a task type, a worker, or a setting names; or one of them.
///
/// # Errors
/// When the database does not answer.
pub async fn list(executor: impl PgExecutor<'_>, name: Option<&str>) -> sqlx::Result<Vec<Queue>> {
    sqlx::query_as(
        "SELECT q.queue AS name, q.ready, q.held, q.scheduled, q.running, s.paused_at, s.max_running, s.max_per_key,
                coalesce(s.fair, false) AS fair, s.rate_count, s.rate_seconds
           FROM longhaul.queues q LEFT JOIN longhaul.queue s ON s.name = q.queue
          WHERE $1::text IS NULL OR q.queue = $1
          ORDER BY q.queue",
    )
    .bind(name)
    .fetch_all(executor)
    .await
}

/// Sets all settings of a queue (`longhaul.set_queue`); effective at once, over
/// the whole fleet.
///
/// # Errors
/// When the database does not answer or refuses the values (negative limits).
pub async fn set(executor: impl PgExecutor<'_>, name: &str, settings: &QueueSettings) -> sqlx::Result<()> {
    sqlx::query("SELECT longhaul.set_queue($1, $2, $3, $4, $5, $6, $7)")
        .bind(name)
        .bind(settings.paused)
        .bind(settings.max_running)
        .bind(settings.max_per_key)
        .bind(settings.fair)
        .bind(settings.rate.map(|(count, _)| count))
        .bind(settings.rate.map(|(_, seconds)| seconds))
        .execute(executor)
        .await?;
    Ok(())
}

/// Pauses or resumes a task type (`longhaul.pause_type`).
///
/// # Errors
/// When the database does not answer, or there is no such type.
pub async fn pause_type(executor: impl PgExecutor<'_>, name: &str, paused: bool) -> sqlx::Result<()> {
    sqlx::query("SELECT longhaul.pause_type($1, $2)").bind(name).bind(paused).execute(executor).await?;
    Ok(())
}

/// Admits held tasks wherever there is room: rates refill with time, which no
/// event tells. Returns how many were admitted.
///
/// # Errors
/// When the database does not answer.
pub async fn admit_everywhere(pool: &PgPool) -> sqlx::Result<i64> {
    let waiting: Vec<String> = sqlx::query_scalar(
        "SELECT q.name FROM longhaul.queue q
          WHERE q.gated AND q.paused_at IS NULL AND EXISTS (SELECT FROM longhaul.held h WHERE h.queue = q.name)
          ORDER BY q.name",
    )
    .fetch_all(pool)
    .await?;
    let mut admitted = 0;
    for name in waiting {
        let here: i32 = sqlx::query_scalar("SELECT longhaul.admit($1)").bind(name).fetch_one(pool).await?;
        admitted += i64::from(here);
    }
    Ok(admitted)
}
