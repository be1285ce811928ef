//! Cron schedules: keeping them and firing them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgExecutor, PgPool};

use crate::{CronSchedule, Missed};

/// What someone wants to be started again and again.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSchedule {
    /// Its name: a letter or digit, then at most 99 of letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// See [`CronSchedule`].
    pub cron: String,
    /// A name of the IANA database.
    pub time_zone: String,
    /// The name of a registered task type.
    pub type_name: String,
    /// The parameters of each task.
    pub parameters: Value,
    /// The queue, if not the type's.
    pub queue: Option<String>,
    /// 0 to 9, if not the type's.
    pub priority: Option<u8>,
    /// Whose task each is, see [`crate::TaskType::key`].
    pub key: Option<String>,
    /// What makes each the same as another, as [`crate::Entry::keys`] tells it.
    pub unique_key: Option<String>,
    /// What becomes of firings that no process was there for.
    pub missed: Missed,
    /// Whether it waits to be resumed.
    pub paused: bool,
    /// When it fires first.
    pub next_at: Option<DateTime<Utc>>,
}

/// A schedule as it stands.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Schedule {
    /// See [`NewSchedule::name`].
    pub name: String,
    /// See [`NewSchedule::cron`].
    pub cron: String,
    /// See [`NewSchedule::time_zone`].
    pub time_zone: String,
    /// See [`NewSchedule::type_name`].
    #[sqlx(rename = "type")]
    pub type_name: String,
    /// See [`NewSchedule::parameters`].
    pub parameters: Value,
    /// See [`NewSchedule::queue`].
    pub queue: Option<String>,
    /// See [`NewSchedule::priority`].
    pub priority: Option<i16>,
    /// The name of a [`Missed`].
    pub missed: String,
    /// `active`, `paused`, `over` (no date matches any more) or `broken`.
    pub state: String,
    /// When it fires next, unless it is paused.
    pub next_at: Option<DateTime<Utc>>,
    /// The due time that was fired last.
    pub last_fired_at: Option<DateTime<Utc>>,
    /// The last due time that got no task, by the policy for missed ones.
    pub last_skipped_at: Option<DateTime<Utc>>,
    /// The public id of the task that was made last.
    pub last_task: Option<String>,
    /// How many tasks it has made.
    pub fired: i64,
    /// Why it is broken.
    pub problem: Option<String>,
}

impl Schedule {
    /// When it is due next after this time; `None` if never, or if it is broken.
    #[must_use]
    pub fn next_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        CronSchedule::new(&self.cron, &self.time_zone, time).ok()?.next_after(time)
    }
}

const SELECT: &str = "
    SELECT name, cron, time_zone, type, parameters, queue, priority, missed, state, next_at, last_fired_at,
           last_skipped_at, last_task, fired, problem
      FROM longhaul.schedules
     WHERE name = coalesce($1, name) AND name > $2
     ORDER BY name LIMIT $3";

/// The schedule of this name.
///
/// # Errors
/// When the database does not answer.
pub async fn schedule(executor: impl PgExecutor<'_>, name: &str) -> sqlx::Result<Option<Schedule>> {
    sqlx::query_as(SELECT).bind(Some(name)).bind("").bind(1_i64).fetch_optional(executor).await
}

/// Schedules by name, those after `after` (empty: from the first), at most
/// `limit`.
///
/// # Errors
/// When the database does not answer.
pub async fn schedules(executor: impl PgExecutor<'_>, after: &str, limit: u32) -> sqlx::Result<Vec<Schedule>> {
    sqlx::query_as(SELECT).bind(None::<String>).bind(after).bind(i64::from(limit)).fetch_all(executor).await
}

/// Stores a schedule unless there is one of its name; `false` then.
///
/// # Errors
/// When the database does not answer, or the type is unknown to it.
pub async fn create(executor: impl PgExecutor<'_>, schedule: &NewSchedule) -> sqlx::Result<bool> {
    store(
        executor,
        schedule,
        "INSERT INTO longhaul.schedule
                (name, cron, time_zone, type, parameters, queue, priority, missed, paused, next_at, key, unique_key)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (name) DO NOTHING RETURNING true",
    )
    .await
    .map(|created| created.is_some())
}

/// Stores a schedule in place of the one of its name, if there is one. `true`
/// if there was none. What it has fired so far stays.
///
/// # Errors
/// When the database does not answer, or the type is unknown to it.
pub async fn put(executor: impl PgExecutor<'_>, schedule: &NewSchedule) -> sqlx::Result<bool> {
    store(
        executor,
        schedule,
        "INSERT INTO longhaul.schedule AS s
                (name, cron, time_zone, type, parameters, queue, priority, missed, paused, next_at, key, unique_key)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (name) DO UPDATE
            SET cron = excluded.cron, time_zone = excluded.time_zone, type = excluded.type,
                parameters = excluded.parameters, queue = excluded.queue, priority = excluded.priority,
                missed = excluded.missed, paused = excluded.paused, next_at = excluded.next_at,
                key = excluded.key, unique_key = excluded.unique_key,
                problem = NULL, changed_at = now()
         RETURNING s.xmax = 0",
    )
    .await
    .map(|created| created == Some(true))
}

async fn store(
    executor: impl PgExecutor<'_>,
    schedule: &NewSchedule,
    statement: &'static str,
) -> sqlx::Result<Option<bool>> {
    sqlx::query_scalar(statement)
        .bind(&schedule.name)
        .bind(&schedule.cron)
        .bind(&schedule.time_zone)
        .bind(&schedule.type_name)
        .bind(&schedule.parameters)
        .bind(schedule.queue.as_deref())
        .bind(schedule.priority.map(i16::from))
        .bind(schedule.missed.name())
        .bind(schedule.paused)
        .bind(schedule.next_at)
        .bind(schedule.key.as_deref())
        .bind(schedule.unique_key.as_deref())
        .fetch_optional(executor)
        .await
}

/// Removes a schedule and the record of its firings; its tasks stay. `false` if
/// there is none of that name.
///
/// # Errors
/// When the database does not answer.
pub async fn delete(executor: impl PgExecutor<'_>, name: &str) -> sqlx::Result<bool> {
    let done = sqlx::query("DELETE FROM longhaul.schedule WHERE name = $1").bind(name).execute(executor).await?;
    Ok(done.rows_affected() == 1)
}

/// Stops a schedule from firing until it is resumed. `false` if there is none of
/// that name.
///
/// # Errors
/// When the database does not answer.
pub async fn pause(executor: impl PgExecutor<'_>, name: &str) -> sqlx::Result<bool> {
    let done = sqlx::query("UPDATE longhaul.schedule SET paused = true, changed_at = now() WHERE name = $1")
        .bind(name)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Lets a paused schedule go on at `next_at`; what came due while it was paused
/// is not made up for. One that is not paused stays as it is. `false` if there is
/// none of that name.
///
/// # Errors
/// When the database does not answer.
pub async fn resume(executor: impl PgExecutor<'_>, name: &str, next_at: Option<DateTime<Utc>>) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "UPDATE longhaul.schedule
            SET next_at = CASE WHEN paused THEN $2 ELSE next_at END,
                changed_at = CASE WHEN paused THEN now() ELSE changed_at END,
                paused = false
          WHERE name = $1",
    )
    .bind(name)
    .bind(next_at)
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Stores a schedule's task now, besides its firings; returns its public id, or that of
/// the task which has its unique key. `None` if there is no such schedule.
///
/// # Errors
/// When the database does not answer.
pub async fn run(executor: impl PgExecutor<'_>, name: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        "SELECT longhaul.enqueue(s.type, s.parameters, priority => s.priority, queue => s.queue,
                                 created_by => 'schedule:' || s.name, key => s.key, unique_key => s.unique_key)
           FROM longhaul.schedule s WHERE s.name = $1",
    )
    .bind(name)
    .fetch_optional(executor)
    .await
}

/// What one look at the schedules did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fired {
    /// Tasks that were stored.
    pub tasks: i64,
    /// When the next schedule is due, from now; `None` if none is.
    pub next_in: Option<Duration>,
    /// Whether there may be more that is due already.
    pub more: bool,
    /// Schedules that can't fire and why: they were set aside.
    pub broken: Vec<(String, String)>,
    /// Schedules that left out firings, and the latest of those.
    pub skipped: Vec<(String, DateTime<Utc>)>,
}

/// Schedules that are dealt with in one transaction.
const AT_ONCE: i64 = 100;

#[derive(FromRow)]
struct DueRow {
    name: String,
    cron: String,
    time_zone: String,
    missed: String,
    next_at: DateTime<Utc>,
    now: DateTime<Utc>,
}

/// Who locks a row here decides about it; others pass by.
const LOCK_DUE: &str = "
    SELECT name, cron, time_zone, missed, next_at, clock_timestamp() AS now
      FROM longhaul.schedule
     WHERE NOT paused AND next_at <= (SELECT clock_timestamp())
     ORDER BY next_at LIMIT $1
       FOR UPDATE SKIP LOCKED";

/// If another task has the firing's unique key, the firing is that task. Keys are
/// taken in one order everywhere, so that two processes can't wait for each other.
const FIRE: &str = "
    WITH due AS MATERIALIZED (
        SELECT d.name, d.due_at, longhaul.new_id() AS id
          FROM unnest($1::text[], $2::timestamptz[]) AS d(name, due_at)
         WHERE NOT EXISTS (SELECT FROM longhaul.firing f WHERE f.schedule = d.name AND f.due_at = d.due_at)
    ), settled AS MATERIALIZED (
        SELECT o.id, o.name, o.due_at,
               CASE WHEN o.unique_key IS NOT NULL THEN longhaul.take_key(o.unique_key, o.id, o.unique_seconds) END AS other
          FROM (SELECT d.*, s.unique_key, y.unique_seconds
                  FROM due d
                  JOIN longhaul.schedule s USING (name)
                  JOIN longhaul.task_type y ON y.name = s.type
                 ORDER BY s.unique_key, d.due_at) AS o
    ), fired AS (
        INSERT INTO longhaul.firing (schedule, due_at, task_id, fired_by)
        SELECT name, due_at, coalesce(other, id), $3 FROM settled
        RETURNING schedule AS name, due_at
    ), wanted AS MATERIALIZED (
        SELECT d.id, d.due_at, s.name, s.type, s.parameters, s.key, s.unique_key, y.max_attempts,
               coalesce(s.queue, y.queue) AS queue, coalesce(s.priority, y.priority) AS priority
          FROM settled d
          JOIN longhaul.schedule s USING (name)
          JOIN longhaul.task_type y ON y.name = s.type
         WHERE d.other IS NULL
    ), stored AS (
        INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, parameters, key, unique_key, created_by,
                                   message, state)
        SELECT id, type, queue, priority, max_attempts, parameters, key, unique_key, 'schedule:' || name,
               'Due ' || to_char(due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), 'Queued'
          FROM wanted
    ), ready AS (
        INSERT INTO longhaul.ready (queue, priority, id)
        SELECT queue, priority, id FROM wanted
    ), woken AS (
        SELECT pg_notify('longhaul_ready', queue) FROM (SELECT DISTINCT queue FROM wanted) AS waiting
    ), moved AS (
        UPDATE longhaul.schedule s
           SET next_at = m.next_at,
               last_fired_at = coalesce((SELECT max(f.due_at) FROM fired f WHERE f.name = s.name), s.last_fired_at),
               last_skipped_at = coalesce(m.skipped_at, s.last_skipped_at),
               fired = s.fired + (SELECT count(*) FROM wanted w WHERE w.name = s.name),
               problem = m.problem
          FROM unnest($4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[])
               AS m(name, next_at, skipped_at, problem)
         WHERE s.name = m.name
    )
    SELECT count(*) FROM wanted WHERE (SELECT count(*) FROM woken) >= 0";

/// Fires what is due: stores the tasks and moves each schedule on, in one
/// transaction, so that a crash leaves both or neither. Safe from any number of
/// processes at once: a schedule is locked by one of them, and a key makes sure
/// that a due time fires once.
///
/// # Errors
/// When the database does not answer; nothing has changed then.
pub async fn fire(pool: &PgPool, worker_id: i32) -> sqlx::Result<Fired> {
    let mut transaction = pool.begin().await?;
    let due: Vec<DueRow> = sqlx::query_as(LOCK_DUE).bind(AT_ONCE).fetch_all(&mut *transaction).await?;
    let mut result = Fired { more: i64::try_from(due.len()).unwrap_or(AT_ONCE) >= AT_ONCE, ..Fired::default() };
    if !due.is_empty() {
        let mut firings = (Vec::new(), Vec::new());
        let mut moves = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for row in due {
            let missed = Missed::by_name(&row.missed).unwrap_or(Missed::Once);
            let (next, skipped, problem) = match CronSchedule::new(&row.cron, &row.time_zone, row.next_at) {
                Ok(schedule) => {
                    let due = schedule.due(row.next_at, row.now, missed);
                    for due_at in due.fire {
                        firings.0.push(row.name.clone());
                        firings.1.push(due_at);
                    }
                    result.skipped.extend(due.skipped.map(|at| (row.name.clone(), at)));
                    (due.next, due.skipped, None)
                }
                // It could be read when it was stored; not by this version.
                Err(error) => {
                    result.broken.push((row.name.clone(), error.to_string()));
                    (None, None, Some(error.to_string()))
                }
            };
            moves.0.push(row.name);
            moves.1.push(next);
            moves.2.push(skipped);
            moves.3.push(problem);
        }
        result.tasks = sqlx::query_scalar(FIRE)
            .bind(firings.0)
            .bind(firings.1)
            .bind(worker_id)
            .bind(moves.0)
            .bind(moves.1)
            .bind(moves.2)
            .bind(moves.3)
            .fetch_one(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    let next_in: Option<f64> = sqlx::query_scalar(
        "SELECT extract(epoch FROM min(next_at) - clock_timestamp())::float8
           FROM longhaul.schedule WHERE NOT paused AND next_at > (SELECT clock_timestamp())",
    )
    .fetch_one(pool)
    .await?;
    result.next_in = next_in.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
    Ok(result)
}
