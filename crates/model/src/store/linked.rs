//! Tasks that belong together: that wait for others, or are the parts of one.
//! docs/batches.md tells what it means, docs/adr/0005 why it works as it does.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;
use sqlx::{FromRow, PgConnection, PgExecutor, Postgres};
use uuid::Uuid;

use super::enqueue::{NewTask, bind_options, bind_run_at, bind_tasks, check_all};
use super::stored::ShownJson;
use crate::{State, TraceContext};

/// What becomes of a task when one that it waits for fails or is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum IfFailed {
    /// It is cancelled.
    #[default]
    Cancel,
    /// It fails.
    Fail,
    /// It runs all the same.
    Run,
}

/// What becomes of a parent and its other children when a child fails or is
/// cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum IfChildFailed {
    /// The others run; then the parent fails.
    #[default]
    Continue,
    /// The others are cancelled; then the parent fails.
    Cancel,
    /// The others run, and the parent succeeds.
    Ignore,
}

impl IfFailed {
    /// The word on the wire and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            IfFailed::Cancel => "Cancel",
            IfFailed::Fail => "Fail",
            IfFailed::Run => "Run",
        }
    }
}

impl IfChildFailed {
    /// The word on the wire and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            IfChildFailed::Continue => "Continue",
            IfChildFailed::Cancel => "Cancel",
            IfChildFailed::Ignore => "Ignore",
        }
    }
}

/// `task` does not begin before `on` has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency {
    /// One of the tasks that are stored now.
    pub task: Uuid,
    /// One of them too, or one that is stored already.
    pub on: Uuid,
    /// If that one fails or is cancelled.
    pub if_failed: IfFailed,
}

/// Why tasks were not stored.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Tasks to wait for that there are not: they never were, or were flushed.
    #[error("there is no task {}", list(.0))]
    Unknown(Vec<Uuid>),
    /// Tasks that would wait for each other for ever.
    #[error("these tasks wait for each other in a cycle: {}", list(.0))]
    Circle(Vec<Uuid>),
    /// A unique key that is taken by a task of someone else ([`super::keyed::Together::only_of`]).
    #[error("another caller has an open task with the same unique key as one of these")]
    TakenByOther,
    /// The database did not take them.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

fn list(ids: &[Uuid]) -> String {
    ids.iter().take(10).map(Uuid::to_string).collect::<Vec<_>>().join(", ")
}

/// The tasks that wait in a circle, or for one that does; none if there is no
/// circle (Kahn's algorithm: take away what waits for nothing, again and again).
#[must_use]
pub fn circle(dependencies: &[Dependency]) -> Vec<Uuid> {
    use std::collections::HashMap;
    let mut waits_for: HashMap<Uuid, usize> = HashMap::new();
    let mut dependents: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
    for dependency in dependencies {
        waits_for.entry(dependency.on).or_default();
        *waits_for.entry(dependency.task).or_default() += 1;
        dependents.entry(dependency.on).or_default().push(dependency.task);
    }
    let mut free: Vec<Uuid> = waits_for.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    while let Some(id) = free.pop() {
        waits_for.remove(&id);
        for dependent in dependents.remove(&id).unwrap_or_default() {
            if let Some(count) = waits_for.get_mut(&dependent) {
                *count -= 1;
                if *count == 0 {
                    free.push(dependent);
                }
            }
        }
    }
    let mut rest: Vec<Uuid> = waits_for.into_keys().collect();
    rest.sort_unstable();
    rest
}

/// The ids of tasks that have none yet come from the database, so that a handler
/// needs no clock of its own.
const ENQUEUE: &str = "
    SELECT now()
      FROM longhaul.store_tasks($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                                waiting => $18, waits_for => $19, if_failed => $20, parent => $21)";

/// Those of these tasks that this one did not ask for, or that there are not, in
/// order.
///
/// # Errors
/// When the database does not answer.
pub async fn not_of(executor: impl PgExecutor<'_>, ids: &[Uuid], created_by: &str) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "SELECT DISTINCT i.id FROM unnest($1::uuid[]) AS i(id)
          WHERE NOT EXISTS (SELECT FROM longhaul.task t WHERE t.id = i.id AND t.created_by = $2) ORDER BY i.id",
    )
    .bind(ids)
    .bind(created_by)
    .fetch_all(executor)
    .await
}

/// Stores tasks that wait for each other or for tasks that are stored already,
/// and are the children of `parent`, if there is one; however many, in one
/// statement. Returns when they were accepted.
///
/// Their unique keys are not looked at. Lines of `dependencies` must differ in
/// `task` or `on`.
///
/// # Errors
/// [`LinkError`]; the transaction is to be rolled back then.
pub async fn enqueue_linked(
    transaction: &mut PgConnection,
    tasks: &[NewTask],
    dependencies: &[Dependency],
    parent: Option<Uuid>,
) -> Result<DateTime<Utc>, LinkError> {
    check_all(tasks)?;
    let in_circle = circle(dependencies);
    if !in_circle.is_empty() {
        return Err(LinkError::Circle(in_circle));
    }
    let new: std::collections::HashSet<Uuid> = tasks.iter().map(|task| task.id).collect();
    let mut earlier: Vec<Uuid> =
        dependencies.iter().map(|dependency| dependency.on).filter(|on| !new.contains(on)).collect();
    earlier.sort_unstable();
    earlier.dedup();
    if !earlier.is_empty() {
        let unknown: Vec<Uuid> =
            sqlx::query_scalar("SELECT longhaul.follow_ends($1)").bind(&earlier).fetch_one(&mut *transaction).await?;
        if !unknown.is_empty() {
            return Err(LinkError::Unknown(unknown));
        }
    }
    let query = bind_run_at(bind_tasks(sqlx::query_scalar(ENQUEUE), tasks), tasks);
    Ok(bind_options(query, tasks)
        .bind(dependencies.iter().map(|dependency| dependency.task).collect::<Vec<_>>())
        .bind(dependencies.iter().map(|dependency| dependency.on).collect::<Vec<_>>())
        .bind(dependencies.iter().map(|dependency| dependency.if_failed.name()).collect::<Vec<_>>())
        .bind(parent)
        .fetch_one(transaction)
        .await?)
}

// Its end is noted, since it may get no children at all: then the follower ends it.
const BEGIN_BATCH: &str = "
    WITH begun AS MATERIALIZED (
        SELECT longhaul.begin_batch($1, $2, $3, $4, $5, $6, $7, $8, $9)
    )
    INSERT INTO longhaul.ended (id) SELECT $1 FROM begun";

/// Stores a parent that does nothing but wait for its children, which follow in
/// the same transaction by [`enqueue_linked`].
///
/// # Errors
/// When the database does not answer.
pub async fn begin_batch(
    transaction: &mut PgConnection,
    parent: &NewTask,
    if_failed: IfChildFailed,
) -> sqlx::Result<()> {
    check_all(std::slice::from_ref(parent))?;
    sqlx::query(BEGIN_BATCH)
        .bind(parent.id)
        .bind(parent.info.name)
        .bind(parent.queue())
        .bind(i16::from(parent.priority()))
        .bind(&parent.parameters)
        .bind(parent.created_by.as_deref())
        .bind(parent.progress.total)
        .bind(if_failed.name())
        .bind(parent.trace.as_ref().map(TraceContext::stored))
        .execute(transaction)
        .await?;
    Ok(())
}

/// Ids for this many tasks, by the database's clock, in order.
pub(crate) async fn new_ids(executor: impl PgExecutor<'_>, number: usize) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar("SELECT longhaul.new_id() AS id FROM generate_series(1, $1) ORDER BY id")
        .bind(i32::try_from(number).unwrap_or(i32::MAX))
        .fetch_all(executor)
        .await
}

/// Notes that a task with a handler has children from now on, so that its end is
/// followed. It must be at work in this transaction's hands.
pub(crate) async fn become_parent(transaction: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query("UPDATE longhaul.task SET followed = true WHERE id = $1 AND followed IS NOT TRUE")
        .bind(id)
        .execute(transaction)
        .await?;
    Ok(())
}

/// Acts upon the ends of tasks that others wait for (`longhaul.follow`). Returns
/// how many ends and parents; call it again until there are none.
///
/// # Errors
/// When the database does not answer; nothing has changed then.
pub async fn follow(executor: impl PgExecutor<'_>) -> sqlx::Result<i32> {
    sqlx::query_scalar("SELECT longhaul.follow()").fetch_one(executor).await
}

/// Brings the progress of parents that wait up to date. Returns how many wait.
///
/// # Errors
/// When the database does not answer.
pub async fn sum_children(executor: impl PgExecutor<'_>) -> sqlx::Result<i32> {
    sqlx::query_scalar("SELECT longhaul.sum_children()").fetch_one(executor).await
}

/// Notes ends that were missed: of tasks that a worker of an older release ended
/// (`longhaul.note_missed_ends`). Returns how many.
///
/// # Errors
/// When the database does not answer.
pub async fn note_missed_ends(executor: impl PgExecutor<'_>) -> sqlx::Result<i32> {
    sqlx::query_scalar("SELECT longhaul.note_missed_ends()").fetch_one(executor).await
}

/// Another task that one is tied to, as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Relative {
    /// Its guid.
    pub id: Uuid,
    /// As clients see it.
    pub public_id: String,
    /// Its type's name.
    pub type_name: String,
    /// Who asked for it.
    pub created_by: Option<String>,
    /// Where it is in its life.
    pub state: State,
    /// What it returned, once it has succeeded.
    pub result: Option<Value>,
    /// Why it failed.
    pub error: Option<Value>,
    /// Among the children of a parent: 1 is the first.
    pub number: Option<i32>,
    /// For a dependency: what becomes of the one that waits.
    pub if_failed: Option<IfFailed>,
}

#[derive(FromRow)]
struct RelativeRow {
    id: Uuid,
    public_id: String,
    #[sqlx(rename = "type")]
    type_name: String,
    created_by: Option<String>,
    state: String,
    result: Option<ShownJson>,
    error: Option<ShownJson>,
    number: Option<i32>,
    if_failed: Option<String>,
}

impl RelativeRow {
    fn into_relative(self) -> sqlx::Result<Relative> {
        Ok(Relative {
            id: self.id,
            public_id: self.public_id,
            type_name: self.type_name,
            created_by: self.created_by,
            state: self.state.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            result: self.result.map(Value::from),
            error: self.error.map(ShownJson::into_problem),
            number: self.number,
            if_failed: self.if_failed.map(|name| match name.as_str() {
                "Fail" => IfFailed::Fail,
                "Run" => IfFailed::Run,
                _ => IfFailed::Cancel,
            }),
        })
    }
}

/// The columns of a [`RelativeRow`] from these tables, with the last two as they are here.
macro_rules! relatives {
    ($number:literal, $if_failed:literal, $source:literal) => {
        concat!(
            "SELECT v.id, v.public_id, v.type, v.created_by, v.state::text AS state, v.result, v.error, ",
            $number,
            " AS number, ",
            $if_failed,
            " AS if_failed FROM ",
            $source
        )
    };
}

async fn relatives(
    query: QueryAs<'_, Postgres, RelativeRow, PgArguments>,
    executor: impl PgExecutor<'_>,
) -> sqlx::Result<Vec<Relative>> {
    query.fetch_all(executor).await?.into_iter().map(RelativeRow::into_relative).collect()
}

/// The tasks that this one waits or waited for, by id, those after `after`, at
/// most `limit`.
///
/// # Errors
/// When the database does not answer.
pub async fn prerequisites(
    executor: impl PgExecutor<'_>,
    id: Uuid,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Relative>> {
    let query = sqlx::query_as(relatives!(
        "NULL::integer",
        "d.if_failed",
        "longhaul.dependency d JOIN longhaul.tasks v ON v.id = d.on_id
          WHERE d.task_id = $1 AND d.on_id > $2 ORDER BY d.on_id LIMIT $3"
    ));
    relatives(query.bind(id).bind(after).bind(limit), executor).await
}

/// The tasks that wait or waited for this one, by id, those after `after`, at
/// most `limit`.
///
/// # Errors
/// When the database does not answer.
pub async fn dependents(
    executor: impl PgExecutor<'_>,
    id: Uuid,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Relative>> {
    let query = sqlx::query_as(relatives!(
        "NULL::integer",
        "d.if_failed",
        "longhaul.dependency d JOIN longhaul.tasks v ON v.id = d.task_id
          WHERE d.on_id = $1 AND d.task_id > $2 ORDER BY d.task_id LIMIT $3"
    ));
    relatives(query.bind(id).bind(after).bind(limit), executor).await
}

/// The children of a task in the order in which they were stored, those after
/// number `after`, at most `limit`; none that was flushed.
///
/// # Errors
/// When the database does not answer.
pub async fn children(
    executor: impl PgExecutor<'_>,
    parent: Uuid,
    after: i32,
    limit: i64,
) -> sqlx::Result<Vec<Relative>> {
    let query = sqlx::query_as(relatives!(
        "c.number",
        "NULL",
        "longhaul.child c JOIN longhaul.tasks v ON v.id = c.id
          WHERE c.parent_id = $1 AND c.number > $2 ORDER BY c.number LIMIT $3"
    ));
    relatives(query.bind(parent).bind(after).bind(limit), executor).await
}

/// How a task's children ended so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromRow, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Family {
    /// How many there are.
    pub children: i32,
    /// Of those, how many succeeded.
    pub succeeded: i32,
    /// How many failed.
    pub failed: i32,
    /// How many were cancelled.
    pub cancelled: i32,
}

impl Family {
    /// Whether every child has ended.
    #[must_use]
    pub const fn all_ended(&self) -> bool {
        self.succeeded + self.failed + self.cancelled >= self.children
    }
}

/// The children of a task, counted; `None` if it has none.
///
/// # Errors
/// When the database does not answer.
pub async fn family(executor: impl PgExecutor<'_>, parent: Uuid) -> sqlx::Result<Option<Family>> {
    sqlx::query_as("SELECT children, succeeded, failed, cancelled FROM longhaul.family WHERE parent_id = $1")
        .bind(parent)
        .fetch_optional(executor)
        .await
}

#[cfg(test)]
mod tests {
    use super::{Dependency, IfFailed, circle};
    use uuid::Uuid;

    fn dependencies(pairs: &[(u128, u128)]) -> Vec<Dependency> {
        let dependency = |(task, on): &(u128, u128)| Dependency {
            task: Uuid::from_u128(*task),
            on: Uuid::from_u128(*on),
            if_failed: IfFailed::Cancel,
        };
        pairs.iter().map(dependency).collect()
    }

    #[test]
    fn a_diamond_is_no_circle_and_a_ring_is_one() {
        assert!(circle(&dependencies(&[(2, 1), (3, 1), (4, 2), (4, 3)])).is_empty());
        let ring = circle(&dependencies(&[(2, 1), (3, 2), (2, 3), (4, 3)]));
        assert_eq!(ring, [2, 3, 4].map(Uuid::from_u128));
        assert_eq!(circle(&dependencies(&[(1, 1)])), [Uuid::from_u128(1)]);
    }
}
