//! Reading tasks.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgExecutor};
use uuid::Uuid;

use super::linked::Family;
use super::stored::{ShownJson, StoredTime};
use crate::{Progress, State, TimeLeft};

/// The current state of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its guid.
    pub id: Uuid,
    /// Its type's name.
    pub type_name: String,
    /// Its state. A claimed task is `Running` at once, not only at the next flush of progress.
    pub state: State,
    /// Its progress.
    pub progress: Progress,
    /// Number of attempts started so far.
    pub attempt: u16,
    /// The creator.
    pub created_by: Option<String>,
    /// When it was accepted.
    pub accepted_at: DateTime<Utc>,
    /// When it becomes ready, while it is scheduled or retrying.
    pub run_at: Option<DateTime<Utc>>,
    /// When it completed.
    pub finished_at: Option<DateTime<Utc>>,
    /// Its result.
    pub result: Option<Value>,
    /// Why it failed: an RFC 9457 problem object.
    pub error: Option<Value>,
    /// Its current steps while it runs, or its last steps if it did not succeed.
    pub steps: Option<Value>,
    /// The estimated time left, if known.
    pub time_left: Option<TimeLeft>,
    /// Number of lines written to its log.
    pub logged: i64,
    /// Number of open dependencies; `None` if there is none.
    pub waits_for: Option<i32>,
    /// The public id of its parent.
    pub parent: Option<String>,
    /// Its completed children by state, if it has any.
    pub family: Option<Family>,
}

/// A row of [`read_task!`].
#[derive(FromRow)]
pub(super) struct TaskRow {
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
    accepted_at: StoredTime,
    run_at: Option<StoredTime>,
    finished_at: Option<StoredTime>,
    result: Option<ShownJson>,
    error: Option<ShownJson>,
    steps: Option<ShownJson>,
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

/// Tasks as [`TaskRow`]s, from the view `v` and the table `t`; with more columns, if there
/// are any.
macro_rules! read_task {
    ($where:literal) => {
        crate::store::read::read_task!("", $where)
    };
    ($more:literal, $where:literal) => {
        concat!(
            "SELECT v.id, v.type, v.state::text AS state, v.total_elements, v.processed_elements, t.fraction,
                    v.message, v.attempt::int AS attempt, v.created_by, v.accepted_at,
                    CASE WHEN v.state IN ('Scheduled', 'Retrying') THEN v.run_at END AS run_at,
                    v.finished_at, v.result, v.error,
                    CASE WHEN v.state = t.state AND t.state NOT IN ('Scheduled', 'Queued', 'Succeeded') THEN t.steps END AS steps,
                    guess.seconds_left, guess.seconds_left_low, guess.seconds_left_high, t.logged, v.waits_for,
                    CASE WHEN v.parent_id IS NOT NULL
                         THEN (SELECT p.public_id FROM longhaul.tasks p WHERE p.id = v.parent_id) END AS parent,
                    f.children, f.succeeded, f.failed, f.cancelled",
            $more,
            "
               FROM longhaul.tasks v JOIN longhaul.task t USING (id)
               LEFT JOIN longhaul.family f ON f.parent_id = v.id
               LEFT JOIN LATERAL (
                    SELECT CASE WHEN isfinite(t.ends_at) THEN extract(epoch FROM t.ends_at - now()) END::float8 AS seconds_left,
                           CASE WHEN isfinite(t.ends_from) THEN extract(epoch FROM t.ends_from - now()) END::float8 AS seconds_left_low,
                           CASE WHEN isfinite(t.ends_until) THEN extract(epoch FROM t.ends_until - now()) END::float8 AS seconds_left_high
                     WHERE v.state = 'Running' AND t.state = 'Running' AND t.ends_until > now()) AS guess ON true
              WHERE ",
            $where
        )
    };
}

pub(super) use read_task;

/// Returns the task with this guid, or `None` if it is unknown or deleted.
///
/// # Errors
/// If the database does not answer.
pub async fn task(executor: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Task>> {
    let row: Option<TaskRow> = sqlx::query_as(read_task!("v.id = $1")).bind(id).fetch_optional(executor).await?;
    row.map(TaskRow::into_task).transpose()
}

/// Returns the creator of this task; `None` if it is unknown or does not exist.
///
/// # Errors
/// If the database does not answer.
pub async fn maker(executor: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<String>> {
    let made = sqlx::query_scalar("SELECT created_by FROM longhaul.task WHERE id = $1").bind(id);
    Ok(made.fetch_optional(executor).await?.flatten())
}

/// Which tasks a caller may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight<'a> {
    /// All tasks.
    All,
    /// The tasks of this creator.
    Own(&'a str),
}

impl<'a> Sight<'a> {
    /// The required creator, if only one is allowed.
    #[must_use]
    pub fn created_by(self) -> Option<&'a str> {
        match self {
            Self::All => None,
            Self::Own(created_by) => Some(created_by),
        }
    }
}

/// Returns the task with this guid and type, if it exists and the caller may see it. A hidden task
/// can't be distinguished from a missing one, neither by the answer nor by its duration: one
/// statement checks both, and finds nothing.
///
/// # Errors
/// If the database does not answer.
pub async fn task_in_sight(
    executor: impl PgExecutor<'_>,
    id: Uuid,
    type_name: &str,
    sight: Sight<'_>,
) -> sqlx::Result<Option<Task>> {
    let row: Option<TaskRow> =
        sqlx::query_as(read_task!("v.id = $1 AND v.type = $2 AND ($3::text IS NULL OR v.created_by = $3)"))
            .bind(id)
            .bind(type_name)
            .bind(sight.created_by())
            .fetch_optional(executor)
            .await?;
    row.map(TaskRow::into_task).transpose()
}

/// Returns the existing ones of these tasks, in no particular order, in one query.
///
/// # Errors
/// If the database does not answer.
pub async fn tasks(executor: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<Vec<Task>> {
    let rows: Vec<TaskRow> = sqlx::query_as(read_task!("v.id = ANY ($1)")).bind(ids).fetch_all(executor).await?;
    rows.into_iter().map(TaskRow::into_task).collect()
}

impl TaskRow {
    pub(super) fn into_task(self) -> sqlx::Result<Task> {
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
            accepted_at: self.accepted_at.0,
            run_at: self.run_at.map(|time| time.0),
            finished_at: self.finished_at.map(|time| time.0),
            result: self.result.map(Value::from),
            error: self.error.map(ShownJson::into_problem),
            steps: self.steps.map(ShownJson::into_steps),
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
