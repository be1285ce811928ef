//! Cron schedules: storing and firing them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgExecutor, PgPool};

use super::stored::{ShownJson, StoredTexts, StoredTime, StoredTimeOption};
use crate::{CronSchedule, Missed, TaskOptions};

/// A schedule to be stored.
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
    /// What each task has of its own, instead of what the type says.
    pub options: TaskOptions,
    /// Whose task each is, see [`crate::TaskType::key`].
    pub key: Option<String>,
    /// The unique key of its tasks.
    pub unique_key: Option<String>,
    /// How to handle missed firings.
    pub missed: Missed,
    /// Whether it is paused.
    pub paused: bool,
    /// Its first due time.
    pub next_at: Option<DateTime<Utc>>,
}

/// The current state of a schedule.
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
    #[sqlx(try_from = "ShownJson")]
    pub parameters: Value,
    /// See [`TaskOptions::queue`].
    pub queue: Option<String>,
    /// See [`TaskOptions::priority`].
    pub priority: Option<i16>,
    /// See [`NewSchedule::key`].
    pub key: Option<String>,
    /// See [`NewSchedule::unique_key`], without the type's name.
    pub unique_key: Option<String>,
    /// See [`TaskOptions::unique_for`], in seconds.
    pub unique_seconds: Option<f64>,
    /// See [`TaskOptions::max_attempts`].
    pub max_attempts: Option<i16>,
    /// See [`TaskOptions::timeout`], in seconds.
    pub timeout_seconds: Option<f64>,
    /// See [`TaskOptions::tags`].
    #[sqlx(try_from = "StoredTexts")]
    pub tags: Vec<String>,
    /// The name of a [`Missed`].
    pub missed: String,
    /// `active`, `paused`, `over` (no date matches any more) or `broken`.
    pub state: String,
    /// When it fires next, unless it is paused.
    #[sqlx(try_from = "StoredTimeOption")]
    pub next_at: Option<DateTime<Utc>>,
    /// The last due time that was fired.
    #[sqlx(try_from = "StoredTimeOption")]
    pub last_fired_at: Option<DateTime<Utc>>,
    /// The last due time that was skipped, by the policy for missed firings.
    #[sqlx(try_from = "StoredTimeOption")]
    pub last_skipped_at: Option<DateTime<Utc>>,
    /// The public id of the last task that it started.
    pub last_task: Option<String>,
    /// Number of tasks that it has started.
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
           last_skipped_at, last_task, fired, problem, key, unique_key, max_attempts,
           extract(epoch FROM unique_for)::float8 AS unique_seconds, extract(epoch FROM timeout)::float8 AS timeout_seconds,
           coalesce(tags, '{}') AS tags
      FROM longhaul.schedules
     WHERE name = coalesce($1, name) AND name > $2
     ORDER BY name LIMIT $3";

/// The schedule of this name.
///
/// # Errors
/// If the database does not answer.
pub async fn schedule(executor: impl PgExecutor<'_>, name: &str) -> sqlx::Result<Option<Schedule>> {
    sqlx::query_as(SELECT).bind(Some(name)).bind("").bind(1_i64).fetch_optional(executor).await
}

/// Schedules by name, those after `after` (empty: from the first), at most
/// `limit`.
///
/// # Errors
/// If the database does not answer.
pub async fn schedules(executor: impl PgExecutor<'_>, after: &str, limit: u32) -> sqlx::Result<Vec<Schedule>> {
    sqlx::query_as(SELECT).bind(None::<String>).bind(after).bind(i64::from(limit)).fetch_all(executor).await
}

/// Stores a schedule, unless one with its name exists; then returns `false`.
///
/// # Errors
/// If the database does not answer, or the type is unknown to it.
pub async fn create(executor: impl PgExecutor<'_>, schedule: &NewSchedule) -> sqlx::Result<bool> {
    store(
        executor,
        schedule,
        "INSERT INTO longhaul.schedule
                (name, cron, time_zone, type, parameters, queue, priority, missed, paused, next_at, key, unique_key,
                 max_attempts, unique_seconds, timeout_seconds, tags)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
         ON CONFLICT (name) DO NOTHING RETURNING true",
    )
    .await
    .map(|created| created.is_some())
}

/// Stores a schedule, or replaces the one with its name. Returns `true` if there was none. Its past
/// firings stay.
///
/// # Errors
/// If the database does not answer, or the type is unknown to it.
pub async fn put(executor: impl PgExecutor<'_>, schedule: &NewSchedule) -> sqlx::Result<bool> {
    store(
        executor,
        schedule,
        "INSERT INTO longhaul.schedule AS s
                (name, cron, time_zone, type, parameters, queue, priority, missed, paused, next_at, key, unique_key,
                 max_attempts, unique_seconds, timeout_seconds, tags)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
         ON CONFLICT (name) DO UPDATE
            SET cron = excluded.cron, time_zone = excluded.time_zone, type = excluded.type,
                parameters = excluded.parameters, queue = excluded.queue, priority = excluded.priority,
                missed = excluded.missed, paused = excluded.paused, next_at = excluded.next_at,
                key = excluded.key, unique_key = excluded.unique_key, max_attempts = excluded.max_attempts,
                unique_seconds = excluded.unique_seconds, timeout_seconds = excluded.timeout_seconds, tags = excluded.tags,
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
    let options = &schedule.options;
    options.check().map_err(|refused| sqlx::Error::Encode(Box::new(refused)))?;
    sqlx::query_scalar(statement)
        .bind(&schedule.name)
        .bind(&schedule.cron)
        .bind(&schedule.time_zone)
        .bind(&schedule.type_name)
        .bind(&schedule.parameters)
        .bind(options.queue.as_deref())
        .bind(options.priority.map(i16::from))
        .bind(schedule.missed.name())
        .bind(schedule.paused)
        .bind(schedule.next_at)
        .bind(schedule.key.as_deref())
        .bind(schedule.unique_key.as_deref())
        .bind(options.max_attempts.map(super::small))
        .bind(options.unique_for.map(|period| period.as_secs_f64()))
        .bind(options.timeout.map(|limit| limit.as_secs_f64()))
        .bind(Some(&options.tags).filter(|tags| !tags.is_empty()))
        .fetch_optional(executor)
        .await
}

/// Deletes a schedule and its firings; its tasks remain. `false` if there is none with this name.
///
/// # Errors
/// If the database does not answer.
pub async fn delete(executor: impl PgExecutor<'_>, name: &str) -> sqlx::Result<bool> {
    let done = sqlx::query("DELETE FROM longhaul.schedule WHERE name = $1").bind(name).execute(executor).await?;
    Ok(done.rows_affected() == 1)
}

/// Pauses a schedule. `false` if there is none of
/// that name.
///
/// # Errors
/// If the database does not answer.
pub async fn pause(executor: impl PgExecutor<'_>, name: &str) -> sqlx::Result<bool> {
    let done = sqlx::query("UPDATE longhaul.schedule SET paused = true, changed_at = now() WHERE name = $1")
        .bind(name)
        .execute(executor)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// What a schedule starts, as it was at some moment.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Starts {
    /// See [`NewSchedule::type_name`].
    #[sqlx(rename = "type")]
    pub type_name: String,
    /// As they are stored: secrets are sealed.
    #[sqlx(try_from = "ShownJson")]
    pub parameters: Value,
    /// The queue of its tasks.
    pub queue: String,
    #[sqlx(try_from = "StoredTime")]
    changed_at: DateTime<Utc>,
}

/// What the schedule of this name starts.
///
/// # Errors
/// If the database does not answer.
pub async fn starts(executor: impl PgExecutor<'_>, name: &str) -> sqlx::Result<Option<Starts>> {
    sqlx::query_as(
        "SELECT s.type, s.parameters, coalesce(s.queue, y.queue) AS queue, s.changed_at
           FROM longhaul.schedule s JOIN longhaul.task_type y ON y.name = s.type WHERE s.name = $1",
    )
    .bind(name)
    .fetch_optional(executor)
    .await
}

/// Resumes a paused schedule at `next_at`; due times during the pause do not fire. A schedule that
/// is not paused does not change. `false` if there is none of that name, or it has been changed
/// since it was found to start this.
///
/// # Errors
/// If the database does not answer.
pub async fn resume(
    executor: impl PgExecutor<'_>,
    name: &str,
    found: &Starts,
    next_at: Option<DateTime<Utc>>,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "UPDATE longhaul.schedule
            SET next_at = CASE WHEN paused THEN $2 ELSE next_at END,
                changed_at = CASE WHEN paused THEN now() ELSE changed_at END,
                paused = false
          WHERE name = $1 AND changed_at = $3",
    )
    .bind(name)
    .bind(next_at)
    .bind(found.changed_at)
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Stores a schedule's task now, in addition to its firings; returns its public id, or that of the
/// task which has its unique key. `None` if there is no such schedule, or it has been changed since
/// it was found to start this.
///
/// # Errors
/// If the database does not answer.
pub async fn run(executor: impl PgExecutor<'_>, name: &str, found: &Starts) -> sqlx::Result<Option<String>> {
    // The unique key is stored as `u:`, the type, `:` and what longhaul.enqueue takes.
    sqlx::query_scalar(
        "SELECT longhaul.enqueue(s.type, s.parameters, priority => s.priority, queue => s.queue,
                                 created_by => 'schedule:' || s.name, key => s.key,
                                 unique_key => substr(s.unique_key, length(s.type) + 4),
                                 unique_for => s.unique_seconds * interval '1 second', max_attempts => s.max_attempts,
                                 timeout => s.timeout_seconds * interval '1 second', tags => s.tags)
           FROM longhaul.schedule s WHERE s.name = $1 AND s.changed_at = $2",
    )
    .bind(name)
    .bind(found.changed_at)
    .fetch_optional(executor)
    .await
}

/// The result of one run over the schedules.
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
    /// Schedules that skipped firings, and the latest of those.
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
    #[sqlx(try_from = "StoredTime")]
    next_at: DateTime<Utc>,
    now: DateTime<Utc>,
}

/// Who locks a row here decides about it; others pass by. Without names `$2`: those that
/// are not set aside.
const LOCK_DUE: &str = "
    SELECT name, cron, time_zone, missed, next_at, clock_timestamp() AS now
      FROM longhaul.schedule
     WHERE NOT paused AND next_at <= (SELECT clock_timestamp())
       AND CASE WHEN $2::text[] IS NOT NULL THEN name = ANY ($2)
                ELSE name <> ALL (ARRAY(SELECT a.id FROM longhaul.set_aside a WHERE a.service = 'scheduler')) END
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
          FROM (SELECT d.*, s.unique_key, coalesce(s.unique_seconds, y.unique_seconds) AS unique_seconds
                  FROM due d
                  JOIN longhaul.schedule s USING (name)
                  JOIN longhaul.task_type y ON y.name = s.type
                 ORDER BY s.unique_key, d.due_at) AS o
    ), fired AS (
        INSERT INTO longhaul.firing (schedule, due_at, task_id, fired_by)
        SELECT name, due_at, coalesce(other, id), $3 FROM settled
        RETURNING schedule AS name, due_at
    ), wanted AS MATERIALIZED (
        SELECT d.id, d.due_at, s.name, s.type, s.parameters, s.key, s.unique_key, s.timeout_seconds, s.tags,
               coalesce(s.max_attempts, y.max_attempts) AS max_attempts,
               coalesce(s.queue, y.queue) AS queue, coalesce(s.priority, y.priority) AS priority
          FROM settled d
          JOIN longhaul.schedule s USING (name)
          JOIN longhaul.task_type y ON y.name = s.type
         WHERE d.other IS NULL
    ), stored AS (
        SELECT longhaul.store_tasks(array_agg(id), array_agg(type), array_agg(queue), array_agg(priority),
                   array_agg(max_attempts), array_agg(parameters), created_by => array_agg('schedule:' || name),
                   messages => array_agg('Due ' || to_char(due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')),
                   keys => array_agg(key), unique_keys => array_agg(unique_key), timeouts => array_agg(timeout_seconds),
                   tags => array_agg(tags::text))
          FROM wanted HAVING count(*) > 0
    ), moved AS (
        UPDATE longhaul.schedule s
           SET next_at = m.next_at,
               last_fired_at = coalesce((SELECT max(f.due_at) FROM fired f WHERE f.name = s.name), s.last_fired_at),
               last_skipped_at = coalesce(m.skipped_at, s.last_skipped_at),
               fired = least(s.fired::numeric + (SELECT count(*) FROM wanted w WHERE w.name = s.name), 9223372036854775807),
               problem = m.problem
          FROM unnest($4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[])
               AS m(name, next_at, skipped_at, problem)
         WHERE s.name = m.name
    )
    SELECT count(*) FROM wanted WHERE (SELECT count(*) FROM stored) >= 0";

/// Fires due schedules: stores their tasks and advances each schedule, in one transaction, so that
/// a crash leaves both or neither. Any number of processes may run it at once: one of them locks a
/// schedule, and a key ensures that a due time fires once.
///
/// # Errors
/// If the database does not answer. Then nothing has changed.
pub async fn fire(pool: &PgPool, worker_id: i32) -> sqlx::Result<Fired> {
    fire_some(pool, worker_id, None).await
}

/// The schedules that [`fire`] would fire now.
///
/// # Errors
/// If the database does not answer.
pub async fn due(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT s.name FROM longhaul.schedule s
          WHERE NOT s.paused AND s.next_at <= (SELECT clock_timestamp())
            AND s.name <> ALL (ARRAY(SELECT a.id FROM longhaul.set_aside a WHERE a.service = 'scheduler'))
          ORDER BY s.next_at LIMIT $1",
    )
    .bind(AT_ONCE)
    .fetch_all(executor)
    .await
}

/// Fires those of these schedules that are due.
///
/// # Errors
/// As [`fire`].
pub async fn fire_these(pool: &PgPool, worker_id: i32, names: &[String]) -> sqlx::Result<()> {
    fire_some(pool, worker_id, Some(names)).await.map(|_fired| ())
}

async fn fire_some(pool: &PgPool, worker_id: i32, names: Option<&[String]>) -> sqlx::Result<Fired> {
    let mut transaction = pool.begin().await?;
    let due: Vec<DueRow> = sqlx::query_as(LOCK_DUE).bind(AT_ONCE).bind(names).fetch_all(&mut *transaction).await?;
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
