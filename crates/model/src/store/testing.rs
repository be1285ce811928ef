//! What tests of task types need (`longhaul-test`): a clock that moves, whether anything may still
//! run, and a task that is claimed by the test itself. Nothing of it is for a database in use.

use std::time::Duration;

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgExecutor, PgPool};
use uuid::Uuid;

use super::claim::{Floors, claim};
use super::enqueue::{NewTask, enqueue};
use super::worker::{WorkerInfo, register};
use super::{ClaimedTask, LeaseKey};
use crate::TaskOptions;

/// Every time in the queue's tables, whatever it is for. Triggers do not run, as they would for a
/// change that someone made.
const ADVANCE: &str = "DO $$
DECLARE
    moved record;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR moved IN
        SELECT c.table_name, string_agg(format('%I = %I - interval ''{by} seconds''', c.column_name, c.column_name), ', ') AS changes
          FROM information_schema.columns c
          JOIN information_schema.tables t USING (table_schema, table_name)
         WHERE c.table_schema = 'longhaul' AND t.table_type = 'BASE TABLE'
           AND c.data_type = 'timestamp with time zone' AND c.is_generated = 'NEVER'
         GROUP BY c.table_name
    LOOP
        EXECUTE format('UPDATE longhaul.%I SET %s', moved.table_name, moved.changes);
    END LOOP;
END $$";

/// Makes everything in the queue's tables older, as if this time had passed. Needs a superuser.
///
/// # Errors
/// If the database does not answer.
pub async fn advance(executor: impl PgExecutor<'_>, by: Duration) -> sqlx::Result<()> {
    let sql = ADVANCE.replace("{by}", &by.as_secs_f64().to_string());
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(executor).await?;
    Ok(())
}

/// The open tasks that run or may run without waiting for a time or for a person, and the services'
/// work that may lead to more, each in a line; none if a worker is there and has nothing to do any
/// more.
///
/// # Errors
/// If the database does not answer.
pub async fn active(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT format('%s %s: %s', t.type, t.id, coalesce((SELECT string_agg(w.says, ' ') FROM longhaul.why(t.id) w), 'It runs.'))
           FROM longhaul.task t
          WHERE t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')
            AND NOT EXISTS (SELECT FROM longhaul.why(t.id) w
                             WHERE w.code IN ('children', 'dependencies', 'queue-paused', 'type-paused', 'no-worker', 'set-aside')
                                OR w.code IN ('retry', 'time') AND t.run_at > clock_timestamp())
         UNION ALL SELECT 'No worker has registered yet.' WHERE NOT EXISTS (SELECT FROM longhaul.workers w WHERE w.state = 'alive')
         UNION ALL SELECT format('The end of %s is not acted upon yet.', e.id) FROM longhaul.ended e
         UNION ALL SELECT format('The schedule %s is due.', s.name) FROM longhaul.schedule s
          WHERE NOT s.paused AND s.next_at <= clock_timestamp()
            AND s.name NOT IN (SELECT a.id FROM longhaul.set_aside a WHERE a.service = 'scheduler')",
    )
    .fetch_all(executor)
    .await
}

/// The open tasks of a type with their parameters, in the order of their ids.
///
/// # Errors
/// If the database does not answer.
pub async fn open(executor: impl PgExecutor<'_>, type_name: &str) -> sqlx::Result<Vec<(Uuid, Value)>> {
    sqlx::query_as(
        "SELECT t.id, t.parameters FROM longhaul.task t
          WHERE t.type = $1 AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled') ORDER BY t.id",
    )
    .bind(type_name)
    .fetch_all(executor)
    .await
}

/// The queue of tasks that a test claims itself.
const APART: &str = "longhaul-test";

/// Stores a task and claims it, so that this attempt begins, from this checkpoint, under a lease
/// that nobody else has.
///
/// # Errors
/// If the database does not answer, or the task can't be stored.
pub async fn claim_apart(
    pool: &PgPool,
    task: NewTask,
    attempt: u16,
    checkpoint: Option<Value>,
) -> sqlx::Result<ClaimedTask> {
    let info = WorkerInfo {
        name: APART.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        queues: vec![APART.to_owned()],
        slots: 1,
        heartbeat: Duration::from_secs(3600),
    };
    let lease = LeaseKey { worker_id: register(pool, &info).await?, number: 1 };
    let options = TaskOptions { queue: Some(APART.to_owned()), ..task.options };
    let task = NewTask { options, run_at: None, unique_key: None, ..task };
    let id = task.id;
    enqueue(pool, &[task]).await?;
    sqlx::query("UPDATE longhaul.task SET attempt = $2, checkpoint = $3 WHERE id = $1")
        .bind(id)
        .bind(i16::try_from(attempt.saturating_sub(1)).unwrap_or(i16::MAX))
        .bind(checkpoint)
        .execute(pool)
        .await?;
    let claimed = claim(pool, &mut Floors::new(info.queues, None), lease, 1).await?;
    claimed.into_iter().find(|claimed| claimed.id == id).ok_or(sqlx::Error::RowNotFound)
}

/// Removes a task that [`claim_apart`] claimed, with its worker. Its children stay, without a parent.
///
/// # Errors
/// If the database does not answer.
pub async fn forget(pool: &PgPool, claimed: &ClaimedTask) -> sqlx::Result<()> {
    let mut transaction = pool.begin().await?;
    for sql in [
        "DELETE FROM longhaul.lease WHERE worker_id = $2 AND $1 = ANY (task_ids)",
        "DELETE FROM longhaul.worker WHERE id = $2 AND $1 IS NOT NULL",
        "UPDATE longhaul.task SET parent_id = NULL WHERE parent_id = $1 AND $2 IS NOT NULL",
        "DELETE FROM longhaul.family WHERE parent_id = $1 AND $2 IS NOT NULL",
        "DELETE FROM longhaul.child WHERE parent_id = $1 AND $2 IS NOT NULL",
        "DELETE FROM longhaul.task WHERE id = $1 AND $2 IS NOT NULL",
    ] {
        sqlx::query(sql).bind(claimed.id).bind(claimed.lease.worker_id).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}
