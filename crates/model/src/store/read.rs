//! Reading tasks.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgExecutor};
use uuid::Uuid;

use super::linked::Family;
use crate::{Progress, State, TimeLeft};

/// A task as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its guid.
    pub id: Uuid,
    /// Its type's name.
    pub type_name: String,
    /// Where it is in its life; running is seen at once, not only at the next
    /// flush of progress.
    pub state: State,
    /// How far it is.
    pub progress: Progress,
    /// Attempts begun so far.
    pub attempt: u16,
    /// Who asked for it.
    pub created_by: Option<String>,
    /// When it was accepted.
    pub accepted_at: DateTime<Utc>,
    /// Until when it waits, while it is scheduled or waits for its next attempt.
    pub run_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// What its handler returned.
    pub result: Option<Value>,
    /// Why it failed: an RFC 9457 problem object.
    pub error: Option<Value>,
    /// The steps it is at (while it runs) or was at (if it did not succeed).
    pub steps: Option<Value>,
    /// How long it will still take, if that is known.
    pub time_left: Option<TimeLeft>,
    /// How many lines its log has had.
    pub logged: i64,
    /// For how many tasks it waits; `None` if for none.
    pub waits_for: Option<i32>,
    /// The public id of the task whose child it is.
    pub parent: Option<String>,
    /// How its children ended so far, if it has any.
    pub family: Option<Family>,
}

#[derive(FromRow)]
struct TaskRow {
    id: Uuid,
    #[sqlx(rename = "type")]
    type_name: String,
    state: String,
    total_elements: i64,
    processed_elements: i64,
    fraction: f32,
    message: Option<String>,
    attempt: i32,
    created_by: Option<String>,
    accepted_at: DateTime<Utc>,
    run_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    result: Option<Value>,
    error: Option<Value>,
    steps: Option<Value>,
    seconds_left: Option<f64>,
    seconds_left_low: Option<f64>,
    seconds_left_high: Option<f64>,
    logged: Option<i64>,
    waits_for: Option<i32>,
    parent: Option<String>,
    children: Option<i32>,
    succeeded: Option<i32>,
    failed: Option<i32>,
    cancelled: Option<i32>,
}

macro_rules! read {
    ($where:literal) => {
        concat!(
            "SELECT v.id, v.type, v.state::text AS state, v.total_elements, v.processed_elements, t.fraction,
                    v.message, v.attempt::int AS attempt, v.created_by, v.accepted_at,
                    CASE WHEN v.state IN ('Scheduled', 'Retrying') THEN v.run_at END AS run_at,
                    v.finished_at, v.result, v.error,
                    CASE WHEN v.state = t.state AND t.state NOT IN ('Scheduled', 'Queued', 'Succeeded') THEN t.steps END AS steps,
                    guess.seconds_left, guess.seconds_left_low, guess.seconds_left_high, t.logged, v.waits_for,
                    CASE WHEN v.parent_id IS NOT NULL
                         THEN (SELECT p.public_id FROM longhaul.tasks p WHERE p.id = v.parent_id) END AS parent,
                    f.children, f.succeeded, f.failed, f.cancelled
               FROM longhaul.tasks v JOIN longhaul.task t USING (id)
               LEFT JOIN longhaul.family f ON f.parent_id = v.id
               LEFT JOIN LATERAL (
                    SELECT extract(epoch FROM t.ends_at - now())::float8 AS seconds_left,
                           extract(epoch FROM t.ends_from - now())::float8 AS seconds_left_low,
                           extract(epoch FROM t.ends_until - now())::float8 AS seconds_left_high
                     WHERE v.state = 'Running' AND t.state = 'Running' AND t.ends_until > now()) AS guess ON true
              WHERE ",
            $where
        )
    };
}

/// The task with this guid, or `None` if it is unknown or flushed.
///
/// # Errors
/// When the database does not answer.
pub async fn task(executor: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Task>> {
    let row: Option<TaskRow> = sqlx::query_as(read!("v.id = $1")).bind(id).fetch_optional(executor).await?;
    row.map(TaskRow::into_task).transpose()
}

/// Whose tasks someone may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight<'a> {
    /// Everyone's.
    All,
    /// Those that this one asked for.
    Own(&'a str),
}

impl<'a> Sight<'a> {
    /// Whose they must be; anyone's if absent.
    #[must_use]
    pub fn created_by(self) -> Option<&'a str> {
        match self {
            Self::All => None,
            Self::Own(created_by) => Some(created_by),
        }
    }
}

/// The task with this guid and of this type, if there is one and it is in sight. That
/// it is there and out of sight can't be told from that it is not, neither by the
/// answer nor by how long it takes: one statement asks for both, and finds nothing.
///
/// # Errors
/// When the database does not answer.
pub async fn task_in_sight(
    executor: impl PgExecutor<'_>,
    id: Uuid,
    type_name: &str,
    sight: Sight<'_>,
) -> sqlx::Result<Option<Task>> {
    let row: Option<TaskRow> =
        sqlx::query_as(read!("v.id = $1 AND v.type = $2 AND ($3::text IS NULL OR v.created_by = $3)"))
            .bind(id)
            .bind(type_name)
            .bind(sight.created_by())
            .fetch_optional(executor)
            .await?;
    row.map(TaskRow::into_task).transpose()
}

/// Those of these tasks that there are, in no particular order, in one query.
///
/// # Errors
/// When the database does not answer.
pub async fn tasks(executor: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<Vec<Task>> {
    let rows: Vec<TaskRow> = sqlx::query_as(read!("v.id = ANY ($1)")).bind(ids).fetch_all(executor).await?;
    rows.into_iter().map(TaskRow::into_task).collect()
}

impl TaskRow {
    fn into_task(self) -> sqlx::Result<Task> {
        Ok(Task {
            id: self.id,
            type_name: self.type_name,
            state: self.state.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            progress: Progress {
                total: self.total_elements,
                processed: self.processed_elements,
                fraction: f64::from(self.fraction),
                message: self.message,
            },
            attempt: u16::try_from(self.attempt).unwrap_or(0),
            created_by: self.created_by,
            accepted_at: self.accepted_at,
            run_at: self.run_at,
            finished_at: self.finished_at,
            result: self.result,
            error: self.error,
            steps: self.steps,
            time_left: match (self.seconds_left, self.seconds_left_low, self.seconds_left_high) {
                (Some(seconds), Some(low), Some(high)) => {
                    Some(TimeLeft { seconds: seconds.max(0.0), low: low.max(0.0), high: high.max(0.0) })
                }
                _ => None,
            },
            logged: self.logged.unwrap_or(0),
            waits_for: self.waits_for,
            parent: self.parent,
            family: self.children.map(|children| Family {
                children,
                succeeded: self.succeeded.unwrap_or(0),
                failed: self.failed.unwrap_or(0),
                cancelled: self.cancelled.unwrap_or(0),
            }),
        })
    }
}
