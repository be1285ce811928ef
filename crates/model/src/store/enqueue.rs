//! Storing new tasks.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde_json::Value;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use sqlx::{PgExecutor, Postgres};
use uuid::Uuid;

use super::audit::{AuditEntry, bind_entries, insert_entries};
use super::idle::wake;
use super::unless_missing;
use crate::limits::{
    CREATED_BY_BYTES, KEY_BYTES, NAME_BYTES, STORED_KEY_BYTES, TaskRefused, check_parameters, check_text,
};
use crate::task_type::stored_unique_key;
use crate::{Holder, Keyring, Progress, TaskOptions, TaskType, TaskTypeInfo, TraceContext, secret};

/// A task to be stored.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// The id, from [`crate::DatabaseClock::new_id`].
    pub id: Uuid,
    /// Its type's constants.
    pub info: TaskTypeInfo,
    /// The parameters.
    pub parameters: Value,
    /// The progress at the start, from the type's `create` step.
    pub progress: Progress,
    /// The creator.
    pub created_by: Option<String>,
    /// The task does not run before this time of the database's clock. Default: at once.
    pub run_at: Option<DateTime<Utc>>,
    /// The key, see [`crate::TaskType::key`].
    pub key: Option<String>,
    /// The unique key: [`crate::TaskType::unique_key`] in its stored form, from [`NewTask::of`]
    /// or the type's entry. Only [`super::keyed`] checks it.
    pub unique_key: Option<String>,
    /// The trace of the task. Default: that of the code that creates it.
    pub trace: Option<TraceContext>,
    /// What it has of its own, instead of what its type says.
    pub options: TaskOptions,
}

impl NewTask {
    /// Creates a task of this type, with the type's defaults.
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
            options: TaskOptions::default(),
        }
    }

    /// The queue that it goes to.
    #[must_use]
    pub fn queue(&self) -> &str {
        self.options.queue.as_deref().unwrap_or(self.info.queue)
    }

    /// 0 (first) to 9 (last).
    #[must_use]
    pub fn priority(&self) -> u8 {
        self.options.priority.unwrap_or(self.info.priority)
    }

    /// Attempts in all.
    #[must_use]
    pub fn max_attempts(&self) -> u16 {
        self.options.max_attempts.unwrap_or(self.info.retry.max_attempts)
    }

    /// How long its unique key keeps others out; until it ends, if absent.
    #[must_use]
    pub fn unique_for(&self) -> Option<Duration> {
        self.options.unique_for.or(self.info.unique_for)
    }

    /// With a unique key of its own, which is unique within its type.
    #[must_use]
    pub fn with_unique_key(mut self, key: &str) -> Self {
        self.unique_key = Some(stored_unique_key(self.info.name, key));
        self
    }

    /// Whether only the columns have to be stored that every task has.
    fn is_plain(&self) -> bool {
        self.run_at.is_none() && self.options.timeout.is_none() && self.options.tags.is_empty()
    }

    /// The same with the parameters and keys of a task of its own type.
    ///
    /// # Errors
    /// If the parameters can't be written as JSON, or one is a [`Secret`](crate::Secret); see
    /// [`NewTask::sealed`].
    pub fn of<T: TaskType>(id: Uuid, task: &T) -> serde_json::Result<Self> {
        let plain = secret::plain(task)?.ok_or_else(|| {
            let name = T::NAME;
            serde_json::Error::custom(format!("{name} has secret parameters: use NewTask::sealed"))
        })?;
        Ok(Self::of_type(id, task, plain))
    }

    /// The same for a type with [`Secret`](crate::Secret) parameters, which are encrypted for the
    /// task of this id: they can't be decrypted under another id.
    ///
    /// # Errors
    /// If the parameters can't be written as JSON.
    pub fn sealed<T: TaskType>(id: Uuid, task: &T, keyring: &Keyring) -> serde_json::Result<Self> {
        Ok(Self::of_type(id, task, secret::sealed(task, keyring, T::NAME, Holder::task(id))?))
    }

    /// Whether it can be stored, and read back by a worker: parameters
    /// ([`check_parameters`]), names, keys, options and who asked are within their limits.
    ///
    /// # Errors
    /// If it exceeds a limit.
    pub fn check(&self) -> Result<(), TaskRefused> {
        check_parameters(&self.parameters)?;
        check_text("The name of a task type", self.info.name, NAME_BYTES)?;
        check_text("The name of a queue", self.info.queue, NAME_BYTES)?;
        self.options.check()?;
        if self.options.unique_for.is_some() && self.unique_key.is_none() {
            return Err(TaskRefused("A time for which others are kept out needs a unique key.".to_owned()));
        }
        check_text("A key", self.key.as_deref().unwrap_or_default(), KEY_BYTES)?;
        check_text("A unique key as it is stored", self.unique_key.as_deref().unwrap_or_default(), STORED_KEY_BYTES)?;
        check_text("The name of the caller", self.created_by.as_deref().unwrap_or_default(), CREATED_BY_BYTES)
    }

    fn of_type<T: TaskType>(id: Uuid, task: &T, parameters: Value) -> Self {
        Self {
            key: task.key(),
            unique_key: task.unique_key().map(|key| stored_unique_key(T::NAME, &key)),
            ..Self::new(id, TaskTypeInfo::of::<T>(), parameters)
        }
    }
}

/// Every statement that stores tasks asks this first.
pub(super) fn check_all(tasks: &[NewTask]) -> sqlx::Result<()> {
    tasks.iter().try_for_each(NewTask::check).map_err(|refused| sqlx::Error::Encode(Box::new(refused)))
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
/// tenth of a millisecond for a single task (docs/adr/0008-performance-history.md).
macro_rules! rows {
    () => {
        "unnest($1::uuid[]) AS id, unnest($2::text[]) AS type, unnest($3::text[]) AS queue,
         unnest($4::smallint[]) AS priority, unnest($5::smallint[]) AS max_attempts, unnest($6::jsonb[]) AS parameters,
         unnest($7::text[]) AS created_by, unnest($8::bigint[]) AS total_elements,
         unnest($9::bigint[]) AS processed_elements, unnest($10::float8[]) AS fraction, unnest($11::text[]) AS message,
         unnest($12::text[]) AS key, unnest($13::text[]) AS unique_key, unnest($14::text[]) AS trace_context"
    };
}

/// Stores the rows of `input`, and these values in more columns.
macro_rules! insert_input {
    ($more:expr, $values:expr) => {
        concat!(
            "INSERT INTO longhaul.task (",
            columns!(),
            ", ",
            $more,
            ") SELECT ",
            columns!(),
            ", ",
            $values,
            " FROM input"
        )
    };
}

/// Plain tasks, which may run at once, fused: an INSERT into a table costs 15 µs even if no row
/// comes, and so does a call of `longhaul.make_ready` (docs/adr/0008-performance-history.md).
macro_rules! enqueue_plain {
    ($recorded:expr) => {
        concat!(
            "WITH input AS MATERIALIZED (
        SELECT ",
            rows!(),
            "
    ), stored AS (
        ",
            insert_input!("state", "'Queued'"),
            "
    ), ready AS (
        INSERT INTO longhaul.ready (queue, priority, id)
        SELECT queue, priority, id FROM input
    ), woken AS (
        SELECT ",
            wake!("queue"),
            " AS told FROM (SELECT DISTINCT queue FROM input) AS waiting
    )",
            $recorded,
            "
    SELECT now() FROM (SELECT count(told) FROM woken) AS notified"
        )
    };
}

/// What records audit entries in the same statement.
macro_rules! recorded {
    ($($parameter:literal),+) => {
        concat!(", recorded AS (", insert_entries!($($parameter),+), ")")
    };
}

const ENQUEUE: &str = enqueue_plain!("");
const ENQUEUE_RECORDED: &str = enqueue_plain!(recorded!("$15", "$16", "$17", "$18", "$19"));

/// The same of one plain task, as most are stored: a row of its own values takes a twelfth of a
/// millisecond less than the same as one row of arrays (docs/adr/0008-performance-history.md). Statements of these two
/// forms and of `longhaul.store_task`, theirs in SQL, are the only ones that store ready tasks without
/// `longhaul.make_ready`; a test compares what they do to every table with `longhaul.store_tasks`.
const ENQUEUE_ONE: &str = concat!(
    "WITH stored AS (
        INSERT INTO longhaul.task (",
    columns!(),
    ", state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::float8, $11, $12, $13, $14, 'Queued')
    ), ready AS (
        INSERT INTO longhaul.ready (queue, priority, id) VALUES ($3, $4, $1)
    )
    SELECT now(), ",
    wake!("$3")
);

/// What makes tasks of `input` found by their tags. It is a part of the statement only if
/// there are any: an INSERT costs 15 µs even if no row comes.
macro_rules! tagged {
    () => {
        ", tagged AS (
        INSERT INTO longhaul.task_tag (tag, task_id) SELECT unnest(tags), id FROM input WHERE tags IS NOT NULL
    )"
    };
}

macro_rules! enqueue_special {
    ($more:expr) => {
        concat!(
            "WITH input AS MATERIALIZED (
        SELECT i.*, i.run_at > now() IS TRUE AS later
          FROM (SELECT ",
            rows!(),
            ", unnest($15::timestamptz[]) AS run_at, unnest($16::float8[]) AS timeout_seconds,
               unnest($17::text[])::text[] AS tags) AS i
    ), stored AS (
        ",
            insert_input!(
                "timeout_seconds, tags, state, run_at",
                "timeout_seconds, tags, CASE WHEN later THEN 'Scheduled' ELSE 'Queued' END::longhaul.task_state,
               CASE WHEN later THEN run_at END"
            ),
            "
    ), ready AS (
        SELECT longhaul.make_ready(array_agg(id), array_agg(queue), array_agg(priority))
          FROM input WHERE NOT later HAVING count(*) > 0
    ), scheduled AS (
        INSERT INTO longhaul.scheduled (run_at, id)
        SELECT run_at, id FROM input WHERE later
    )",
            $more,
            "
    SELECT now() FROM (SELECT count(*) FROM ready) AS called"
        )
    };
}

/// Tasks of which some come later or have options of which the others have none: a part of what
/// `longhaul.store_tasks` does, which takes 40 µs more for a single task
/// (docs/adr/0008-performance-history.md). A test compares the two.
const ENQUEUE_SPECIAL: &str = enqueue_special!("");
const ENQUEUE_TAGGED: &str = enqueue_special!(tagged!());
const ENQUEUE_SPECIAL_RECORDED: &str = enqueue_special!(recorded!("$18", "$19", "$20", "$21", "$22"));
const ENQUEUE_TAGGED_RECORDED: &str =
    enqueue_special!(concat!(tagged!(), recorded!("$18", "$19", "$20", "$21", "$22")));

/// Stores tasks in one statement. With a transaction as executor they exist once it commits, and
/// never if it is rolled back. Returns the time of their acceptance. The commit wakes workers. For
/// many thousands of tasks see [`super::bulk::enqueue_many`].
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
/// If the database does not answer, an id is in use, or a task can't be stored
/// ([`NewTask::check`]).
pub async fn enqueue(executor: impl PgExecutor<'_>, tasks: &[NewTask]) -> sqlx::Result<DateTime<Utc>> {
    enqueue_recorded(executor, tasks, &[]).await
}

/// The same; records these audit entries in the same statement. So a batch of tasks and entries takes
/// one round trip to the database instead of those of a transaction.
///
/// # Errors
/// See [`enqueue`].
pub async fn enqueue_recorded(
    executor: impl PgExecutor<'_>,
    tasks: &[NewTask],
    entries: &[AuditEntry],
) -> sqlx::Result<DateTime<Utc>> {
    check_all(tasks)?;
    let recorded = !entries.is_empty();
    if let [task] = tasks
        && task.is_plain()
        && !recorded
    {
        return bind_one(sqlx::query_scalar(ENQUEUE_ONE), task).fetch_one(executor).await;
    }
    let plain = tasks.iter().all(NewTask::is_plain);
    let statement = match (plain, !plain && any_tagged(tasks), recorded) {
        (true, _, false) => ENQUEUE,
        (true, _, true) => ENQUEUE_RECORDED,
        (false, false, false) => ENQUEUE_SPECIAL,
        (false, false, true) => ENQUEUE_SPECIAL_RECORDED,
        (false, true, false) => ENQUEUE_TAGGED,
        (false, true, true) => ENQUEUE_TAGGED_RECORDED,
    };
    let mut query = bind_tasks(sqlx::query_scalar(statement), tasks);
    if !plain {
        query = bind_options(bind_run_at(query, tasks), tasks);
    }
    if recorded {
        query = bind_entries(query, entries);
    }
    query.fetch_one(executor).await
}

/// Whether any of them has tags.
fn any_tagged(tasks: &[NewTask]) -> bool {
    tasks.iter().any(|task| !task.options.tags.is_empty())
}

/// Tags as PostgreSQL writes an array; none if there are none.
pub(super) fn array_of(tags: &[String]) -> Option<String> {
    if tags.is_empty() {
        return None;
    }
    let quoted: Vec<String> =
        tags.iter().map(|tag| format!("\"{}\"", tag.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    Some(format!("{{{}}}", quoted.join(",")))
}

/// Binds the columns of one new task to `$1` to `$14`.
fn bind_one<'q, O>(
    query: QueryScalar<'q, Postgres, O, PgArguments>,
    task: &'q NewTask,
) -> QueryScalar<'q, Postgres, O, PgArguments> {
    query
        .bind(task.id)
        .bind(task.info.name)
        .bind(task.queue())
        .bind(i16::from(task.priority()))
        .bind(super::small(task.max_attempts()))
        .bind(&task.parameters)
        .bind(task.created_by.as_deref())
        .bind(task.progress.stored_elements().0)
        .bind(task.progress.stored_elements().1)
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
        .bind(column(tasks, |task| task.queue()))
        .bind(column(tasks, |task| i16::from(task.priority())))
        .bind(column(tasks, |task| super::small(task.max_attempts())))
        .bind(column(tasks, |task| &task.parameters))
        .bind(unless_missing(column(tasks, |task| task.created_by.as_deref())))
        .bind(column(tasks, |task| task.progress.stored_elements().0))
        .bind(column(tasks, |task| task.progress.stored_elements().1))
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

/// Binds time limits and tags, each row's as the text of an array, to `$16` and `$17`.
pub(super) fn bind_options<'q, O>(
    query: QueryScalar<'q, Postgres, O, PgArguments>,
    tasks: &'q [NewTask],
) -> QueryScalar<'q, Postgres, O, PgArguments> {
    let timeouts = tasks.iter().map(|task| task.options.timeout.map(|limit| limit.as_secs_f64())).collect();
    query
        .bind(unless_missing(timeouts))
        .bind(unless_missing(tasks.iter().map(|task| array_of(&task.options.tags)).collect()))
}
