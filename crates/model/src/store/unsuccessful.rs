//! Tasks that failed or were cancelled: which, how many, and why. They stand in a small
//! table of their own (`longhaul.unsuccessful`), so that what is said of them is exact and
//! quick, however many tasks there are.

use sqlx::postgres::PgArguments;
use sqlx::query::{QueryAs, QueryScalar};
use sqlx::{FromRow, PgExecutor, Postgres};
use uuid::Uuid;

use super::filter::{Range, TaskFilter};
use crate::State;

/// How many tasks that are kept ended in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromRow)]
pub struct Totals {
    /// They failed.
    pub failed: i64,
    /// Those of them that failed in the last hour.
    pub failed_last_hour: i64,
    /// They were cancelled.
    pub cancelled: i64,
    /// They succeeded; `None` unless that is known exactly ([`super::successes::exact`]).
    pub succeeded: Option<i64>,
}

/// Counts them.
///
/// # Errors
/// If the database does not answer.
pub async fn totals(executor: impl PgExecutor<'_>) -> sqlx::Result<Totals> {
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM longhaul.unsuccessful WHERE state = 'Failed') AS failed,
                (SELECT count(*) FROM longhaul.unsuccessful
                  WHERE state = 'Failed' AND ended_at > now() - interval '1 hour') AS failed_last_hour,
                (SELECT count(*) FROM longhaul.unsuccessful WHERE state = 'Cancelled') AS cancelled,
                (SELECT tasks FROM longhaul.succeeded WHERE exact) AS succeeded",
    )
    .fetch_one(executor)
    .await
}

/// How many of the failures have one cause.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Cause {
    /// The error's `code`; `None` of an error without.
    pub code: Option<String>,
    /// Tasks that failed with it, of those that were looked at.
    pub tasks: i64,
    /// Failures that were looked at.
    pub looked_at: i64,
}

/// Failures that [`causes`] looks at, so that its cost is bounded.
pub const LOOKED_AT: i64 = 20_000;

/// The most frequent causes of the failures of the last day, the most frequent first; of more
/// than [`LOOKED_AT`], of the last ones.
///
/// # Errors
/// If the database does not answer.
pub async fn causes(executor: impl PgExecutor<'_>, created_by: Option<&str>, limit: i64) -> sqlx::Result<Vec<Cause>> {
    sqlx::query_as(
        "SELECT code, count(*) AS tasks, (sum(count(*)) OVER ())::bigint AS looked_at
           FROM (SELECT code FROM longhaul.unsuccessful
                  WHERE state = 'Failed' AND ended_at > now() - interval '1 day' AND ($1::text IS NULL OR created_by = $1)
                  ORDER BY ended_at DESC LIMIT $3) last
          GROUP BY code ORDER BY tasks DESC, code LIMIT $2",
    )
    .bind(created_by)
    .bind(limit)
    .bind(LOOKED_AT)
    .fetch_all(executor)
    .await
}

/// The tasks that failed last, the last one first.
///
/// # Errors
/// If the database does not answer.
pub async fn last_failures(
    executor: impl PgExecutor<'_>,
    created_by: Option<&str>,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "SELECT task_id FROM longhaul.unsuccessful
          WHERE state = 'Failed' AND ($1::text IS NULL OR created_by = $1)
          ORDER BY ended_at DESC, task_id DESC LIMIT $2",
    )
    .bind(created_by)
    .bind(limit)
    .fetch_all(executor)
    .await
}

/// Conditions on `u`, a row of `unsuccessful`; `$2` to `$9` by [`bind`], or by [`super::find`]. The state is
/// compared with one at a time, so that its rows are read in the order of their ids.
macro_rules! fits {
    () => {
        "u.state = wanted.state AND u.task_id >= $8 AND u.task_id < $9
           AND (cardinality($2::text[]) = 0 OR u.type = ANY ($2))
           AND ($3::text IS NULL OR u.queue = $3)
           AND ($4::text IS NULL OR u.created_by = $4)
           AND ($5::timestamptz IS NULL OR u.accepted_at >= $5)
           AND ($6::timestamptz IS NULL OR u.accepted_at < $6)
           AND ($7::text IS NULL OR u.state <> 'Failed' OR u.code = $7)"
    };
}

pub(super) use fits;

const FIND: &str = concat!(
    "SELECT found.task_id FROM unnest($1::text[]::longhaul.task_state[]) AS wanted(state)
      CROSS JOIN LATERAL (SELECT u.task_id FROM longhaul.unsuccessful u WHERE ",
    fits!(),
    " ORDER BY u.task_id DESC LIMIT $10) AS found
      ORDER BY found.task_id DESC LIMIT $10"
);

const COUNT: &str = concat!(
    "SELECT coalesce(sum(found.tasks), 0)::bigint FROM unnest($1::text[]::longhaul.task_state[]) AS wanted(state)
      CROSS JOIN LATERAL (SELECT count(*) AS tasks FROM longhaul.unsuccessful u WHERE ",
    fits!(),
    ") AS found"
);

fn states(filter: &TaskFilter) -> Vec<&'static str> {
    let mut states: Vec<&str> =
        filter.states.iter().filter(|state| is_unsuccessful(**state)).map(|state| state.name()).collect();
    states.sort_unstable();
    states.dedup();
    states
}

/// Whether a task in this state ended without success.
pub(super) fn is_unsuccessful(state: State) -> bool {
    matches!(state, State::Failed | State::Cancelled)
}

/// Whether the table tells by itself which of its tasks fit: it has neither their keys nor their
/// tags, nor what a cancelled task's last attempt failed of.
pub(super) fn tells(filter: &TaskFilter) -> bool {
    filter.key.is_none()
        && filter.tag.is_none()
        && (filter.error_code.is_none() || filter.states.iter().all(|state| *state == State::Failed))
}

macro_rules! bind {
    ($query:expr, $filter:expr, $range:expr) => {
        $query
            .bind(states($filter))
            .bind(&$filter.types)
            .bind(&$filter.queue)
            .bind(&$filter.created_by)
            .bind($filter.accepted_after)
            .bind($filter.accepted_before)
            .bind(&$filter.error_code)
            .bind($range.from)
            .bind($range.below)
    };
}

/// The next `limit` tasks of the range in those states of the filter, newest first. All of
/// them fit if the table [`tells`]; else they may.
pub(super) async fn find(
    executor: impl PgExecutor<'_>,
    filter: &TaskFilter,
    range: Range,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    let query: QueryScalar<'_, Postgres, Uuid, PgArguments> = sqlx::query_scalar(FIND);
    bind!(query, filter, range).bind(limit).fetch_all(executor).await
}

/// How many there are.
pub(super) async fn count(executor: impl PgExecutor<'_>, filter: &TaskFilter, range: Range) -> sqlx::Result<i64> {
    let query: QueryAs<'_, Postgres, (i64,), PgArguments> = sqlx::query_as(COUNT);
    bind!(query, filter, range).fetch_one(executor).await.map(|(tasks,)| tasks)
}

/// Under which name tasks are set aside of which it can't be written down that they failed or were
/// cancelled.
pub const SERVICE: &str = "repairer/unsuccessful";

/// Tasks with ids after `after`, up to `last`, that the table and their own rows contradict each
/// other about (`longhaul.unsuccessful_amiss`), but for those that are set aside.
///
/// # Errors
/// If the database does not answer.
pub async fn amiss(executor: impl PgExecutor<'_>, after: Uuid, last: Uuid) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "SELECT DISTINCT a.id FROM longhaul.unsuccessful_amiss($1, $2) a
          WHERE a.id <> ALL (ARRAY(SELECT longhaul.aside($3)))",
    )
    .bind(after)
    .bind(last)
    .bind(SERVICE)
    .fetch_all(executor)
    .await
}

/// Mends what the table and these tasks contradict each other in (`longhaul.mend_unsuccessful`).
/// Returns how many tasks that were.
///
/// # Errors
/// If the database fails, or refuses one of them; nothing has changed then.
pub async fn mend(executor: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<i32> {
    sqlx::query_scalar("SELECT longhaul.mend_unsuccessful($1)").bind(ids).fetch_one(executor).await
}
