//! Storing new tasks.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde_json::Value;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use sqlx::{PgExecutor, Postgres};
use uuid::Uuid;

use super::unless_missing;
use crate::task_type::stored_unique_key;
use crate::{Keyring, Progress, TaskType, TaskTypeInfo, TraceContext, secret};

/// A task to be stored.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// Made by [`crate::DatabaseClock::new_id`].
    pub id: Uuid,
    /// Its type's constants.
    pub info: TaskTypeInfo,
    /// What was asked for.
    pub parameters: Value,
    /// How far it is at the start, from the type's `create` step.
    pub progress: Progress,
    /// Who asked.
    pub created_by: Option<String>,
    /// Not before this time of the database's clock; at once if absent or past.
    pub run_at: Option<DateTime<Utc>>,
    /// Whose turn it is in a gated queue, see [`crate::TaskType::key`].
    pub key: Option<String>,
    /// What no other task may have: [`crate::TaskType::unique_key`] in the form in
    /// which it is stored, as [`NewTask::of`] and [`crate::Entry::keys`] make it. Only
    /// [`super::keyed`] looks at it.
    pub unique_key: Option<String>,
    /// The trace that it belongs to: that of the code which makes it, unless changed.
    pub trace: Option<TraceContext>,
}

impl NewTask {
    /// A task of this type, with nothing special about it.
    #[must_use]
    pub fn new(id: Uuid, info: TaskTypeInfo, parameters: Value) -> Self {
        Self {
            id,
            info,
            parameters,
            progress: Progress::unknown(),
            created_by: None,
            run_at: None,
            key: None,
            unique_key: None,
            trace: TraceContext::current(),
        }
    }

    /// The same with the parameters and keys of a task of its own type.
    ///
    /// # Errors
    /// When the parameters have no JSON form, or one is a [`Secret`](crate::Secret); see
    /// [`NewTask::sealed`].
    pub fn of<T: TaskType>(id: Uuid, task: &T) -> serde_json::Result<Self> {
        let plain = secret::plain(task)?.ok_or_else(|| {
            let name = T::NAME;
            serde_json::Error::custom(format!("{name} has secret parameters, so NewTask::sealed is to be used"))
        })?;
        Ok(Self::of_type(id, task, plain))
    }

    /// The same for a type with [`Secret`](crate::Secret) parameters, which are sealed.
    ///
    /// # Errors
    /// When the parameters have no JSON form.
    pub fn sealed<T: TaskType>(id: Uuid, task: &T, keyring: &Keyring) -> serde_json::Result<Self> {
        Ok(Self::of_type(id, task, secret::sealed(task, keyring, T::NAME)?))
    }

    fn of_type<T: TaskType>(id: Uuid, task: &T, parameters: Value) -> Self {
        Self {
            key: task.key(),
            unique_key: task.unique_key().map(|key| stored_unique_key(T::NAME, &key)),
            ..Self::new(id, TaskTypeInfo::of::<T>(), parameters)
        }
    }
}

/// How far ahead `run_at` may lie: ten years. `longhaul.enqueue` (SQL) keeps the
/// same limit.
pub const LONGEST_DELAY: Duration = Duration::from_secs(3652 * 24 * 3600);

/// What [`bind_tasks`] binds, as columns of `task`.
macro_rules! columns {
    () => {
        "id, type, queue, priority, max_attempts, parameters, created_by,
         total_elements, processed_elements, fraction, message, key, unique_key, trace_context"
    };
}

/// The same from the parameters `$1` to `$14`, for a SELECT. Side by side, unnest()s give
/// row after row; as one in FROM, each would first be stored as a whole, which cost a
/// tenth of a millisecond for a single task (docs/performance.md).
macro_rules! rows {
    () => {
        "unnest($1::uuid[]) AS id, unnest($2::text[]) AS type, unnest($3::text[]) AS queue,
         unnest($4::smallint[]) AS priority, unnest($5::smallint[]) AS max_attempts, unnest($6::jsonb[]) AS parameters,
         unnest($7::text[]) AS created_by, unnest($8::bigint[]) AS total_elements,
         unnest($9::bigint[]) AS processed_elements, unnest($10::float8[]) AS fraction, unnest($11::text[]) AS message,
         unnest($12::text[]) AS key, unnest($13::text[]) AS unique_key, unnest($14::text[]) AS trace_context"
    };
}

pub(super) use {columns, rows};

/// Of tasks that may all run at once, as most may: an INSERT into a table costs 15 µs
/// even if no row comes (docs/performance.md).
const ENQUEUE: &str = concat!(
    "WITH input AS MATERIALIZED (
        SELECT ",
    rows!(),
    "
    ), stored AS (
        INSERT INTO longhaul.task (",
    columns!(),
    ", state) SELECT ",
    columns!(),
    ", 'Queued' FROM input
    ), ready AS (
        INSERT INTO longhaul.ready (queue, priority, id)
        SELECT queue, priority, id FROM input
    ), woken AS (
        SELECT pg_notify('longhaul_ready', queue) FROM (SELECT DISTINCT queue FROM input) AS waiting
    )
    SELECT now() FROM (SELECT count(*) FROM woken) AS notified"
);

/// One task, as most are stored: a row of its own values takes a twelfth of a millisecond
/// less than the same as one row of arrays (docs/performance.md).
const ENQUEUE_ONE: &str = concat!(
    "WITH stored AS (
        INSERT INTO longhaul.task (",
    columns!(),
    ", state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::float8, $11, $12, $13, $14, 'Queued')
    ), ready AS (
        INSERT INTO longhaul.ready (queue, priority, id) VALUES ($3, $4, $1)
    )
    SELECT now(), pg_notify('longhaul_ready', $3)"
);

const ENQUEUE_SOME_LATER: &str = concat!(
    "WITH input AS MATERIALIZED (
        SELECT i.*, i.run_at > now() IS TRUE AS later
          FROM (SELECT ",
    rows!(),
    ", unnest($15::timestamptz[]) AS run_at) AS i
    ), stored AS (
        INSERT INTO longhaul.task (",
    columns!(),
    ", state, run_at) SELECT ",
    columns!(),
    ", CASE WHEN later THEN 'Scheduled' ELSE 'Queued' END::longhaul.task_state,
               CASE WHEN later THEN run_at END
          FROM input
    ), ready AS (
        INSERT INTO longhaul.ready (queue, priority, id)
        SELECT queue, priority, id FROM input WHERE NOT later
    ), scheduled AS (
        INSERT INTO longhaul.scheduled (run_at, id)
        SELECT run_at, id FROM input WHERE later
    ), woken AS (
        SELECT pg_notify('longhaul_ready', queue)
          FROM (SELECT DISTINCT queue FROM input WHERE NOT later) AS waiting
    )
    SELECT now() FROM (SELECT count(*) FROM woken) AS notified"
);

/// Stores tasks in one statement; with a transaction as executor they exist once
/// it commits, and never if it is rolled back. Returns when they were accepted.
/// Workers are woken at the commit. For many thousands see
/// [`super::bulk::enqueue_many`].
///
/// ```no_run
/// # use longhaul_model::{DatabaseClock, Registry, sqlx};
/// # use longhaul_model::store::enqueue::{NewTask, enqueue};
/// # async fn example(pool: sqlx::PgPool, clock: DatabaseClock, registry: Registry) -> Result<(), Box<dyn std::error::Error>> {
/// let mut transaction = pool.begin().await?;
/// sqlx::query("UPDATE account SET closed = true").execute(&mut *transaction).await?;
/// let task = NewTask::new(clock.new_id(), *registry.get("Reindex")?.info(), serde_json::json!({}));
/// enqueue(&mut *transaction, &[task]).await?;
/// transaction.commit().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When the database does not answer, or an id is taken.
pub async fn enqueue(executor: impl PgExecutor<'_>, tasks: &[NewTask]) -> sqlx::Result<DateTime<Utc>> {
    match tasks {
        [task] if task.run_at.is_none() => bind_one(sqlx::query_scalar(ENQUEUE_ONE), task).fetch_one(executor).await,
        tasks if tasks.iter().all(|task| task.run_at.is_none()) => {
            bind_tasks(sqlx::query_scalar(ENQUEUE), tasks).fetch_one(executor).await
        }
        tasks => {
            bind_run_at(bind_tasks(sqlx::query_scalar(ENQUEUE_SOME_LATER), tasks), tasks).fetch_one(executor).await
        }
    }
}

/// Binds the columns of one new task to `$1` to `$14`.
fn bind_one<'q, O>(
    query: QueryScalar<'q, Postgres, O, PgArguments>,
    task: &'q NewTask,
) -> QueryScalar<'q, Postgres, O, PgArguments> {
    query
        .bind(task.id)
        .bind(task.info.name)
        .bind(task.info.queue)
        .bind(i16::from(task.info.priority))
        .bind(super::small(task.info.retry.max_attempts))
        .bind(&task.parameters)
        .bind(task.created_by.as_deref())
        .bind(task.progress.total)
        .bind(task.progress.processed)
        .bind(task.progress.fraction)
        .bind(task.progress.message.as_deref())
        .bind(task.key.as_deref())
        .bind(task.unique_key.as_deref())
        .bind(task.trace.as_ref().map(TraceContext::stored))
}

/// Binds the columns of new tasks to `$1` to `$14`, as arrays. A column
/// that is missing for all is not sent.
pub(super) fn bind_tasks<'q, O>(
    query: QueryScalar<'q, Postgres, O, PgArguments>,
    tasks: &'q [NewTask],
) -> QueryScalar<'q, Postgres, O, PgArguments> {
    fn column<'a, T>(tasks: &'a [NewTask], pick: impl Fn(&'a NewTask) -> T) -> Vec<T> {
        tasks.iter().map(pick).collect()
    }
    query
        .bind(column(tasks, |task| task.id))
        .bind(column(tasks, |task| task.info.name))
        .bind(column(tasks, |task| task.info.queue))
        .bind(column(tasks, |task| i16::from(task.info.priority)))
        .bind(column(tasks, |task| super::small(task.info.retry.max_attempts)))
        .bind(column(tasks, |task| &task.parameters))
        .bind(unless_missing(column(tasks, |task| task.created_by.as_deref())))
        .bind(column(tasks, |task| task.progress.total))
        .bind(column(tasks, |task| task.progress.processed))
        .bind(column(tasks, |task| task.progress.fraction))
        .bind(unless_missing(column(tasks, |task| task.progress.message.as_deref())))
        .bind(unless_missing(column(tasks, |task| task.key.as_deref())))
        .bind(unless_missing(column(tasks, |task| task.unique_key.as_deref())))
        .bind(unless_missing(column(tasks, |task| task.trace.as_ref().map(TraceContext::stored))))
}

/// Binds when new tasks may run to `$15`.
pub(super) fn bind_run_at<'q, O>(
    query: QueryScalar<'q, Postgres, O, PgArguments>,
    tasks: &'q [NewTask],
) -> QueryScalar<'q, Postgres, O, PgArguments> {
    query.bind(unless_missing(tasks.iter().map(|task| task.run_at).collect()))
}
