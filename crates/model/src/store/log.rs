//! Reading the logs of tasks; [`super::progress`] writes them.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgExecutor};
use uuid::Uuid;

use super::stored::StoredTime;
use crate::LogLevel;

/// A line of a task's log, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLine {
    /// Counted from 1 over all the task's attempts. Numbers that are missing are
    /// of lines that were dropped.
    pub number: i64,
    /// When it was written, by the database's clock.
    pub at: DateTime<Utc>,
    /// By which attempt.
    pub attempt: u16,
    /// How much it matters.
    pub level: LogLevel,
    /// What it says.
    pub line: String,
}

#[derive(FromRow)]
struct LineRow {
    number: i64,
    #[sqlx(try_from = "StoredTime")]
    logged_at: DateTime<Utc>,
    attempt: i16,
    level: i16,
    line: String,
}

/// The lines of a task after the one with number `after` (0 for all), in order,
/// `limit` at most.
///
/// # Errors
/// If the database does not answer.
pub async fn lines(executor: impl PgExecutor<'_>, task: Uuid, after: i64, limit: u32) -> sqlx::Result<Vec<StoredLine>> {
    let rows: Vec<LineRow> = sqlx::query_as(
        "SELECT number, logged_at, attempt, level, line FROM longhaul.task_log
          WHERE task_id = $1 AND number > $2 ORDER BY number LIMIT $3",
    )
    .bind(task)
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(LineRow::into_line).collect())
}

/// How many lines of a task are kept.
///
/// # Errors
/// If the database does not answer.
pub async fn kept(executor: impl PgExecutor<'_>, task: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM longhaul.task_log WHERE task_id = $1").bind(task).fetch_one(executor).await
}

/// The view `longhaul.task_logs` has the same numbers.
pub(super) const fn stored_level(level: LogLevel) -> i16 {
    match level {
        LogLevel::Info => 1,
        LogLevel::Warn => 2,
        LogLevel::Error => 3,
    }
}

impl LineRow {
    fn into_line(self) -> StoredLine {
        StoredLine {
            number: self.number,
            at: self.logged_at,
            attempt: u16::try_from(self.attempt).unwrap_or(0),
            level: LogLevel::ALL
                .into_iter()
                .find(|level| stored_level(*level) == self.level)
                .unwrap_or(LogLevel::Error),
            line: self.line,
        }
    }
}
