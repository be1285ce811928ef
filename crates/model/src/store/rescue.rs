//! Putting back what dead workers held.

use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::LeaseKey;
use super::worker::PATIENCE;
use crate::problem::{Problem, WORKER_LOST};

/// What one rescue did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rescued {
    /// Workers that were presumed dead now.
    pub workers: Vec<i32>,
    /// Tasks that were put back.
    pub requeued: usize,
    /// Tasks that had no attempt left and failed.
    pub failed: usize,
}

/// At most this many leases are put back in one transaction.
const LEASES_AT_ONCE: i64 = 64;

/// Presumes workers dead whose heartbeat is overdue and puts their tasks back,
/// also those of leases that stopped workers left. Safe to call from any number
/// of processes at once. A lease that a handler's open transaction holds is left
/// for the next call.
///
/// # Errors
/// When the database does not answer; nothing has changed then.
pub async fn rescue(pool: &PgPool) -> sqlx::Result<Rescued> {
    let mut transaction = pool.begin().await?;
    let workers: Vec<i32> = sqlx::query_scalar(
        "UPDATE longhaul.worker SET lost_at = clock_timestamp()
          WHERE id IN (SELECT id FROM longhaul.worker
                        WHERE lost_at IS NULL AND stopped_at IS NULL
                          AND heartbeat_at < clock_timestamp() - heartbeat_ms * $1 * interval '1 ms'
                          FOR UPDATE SKIP LOCKED)
         RETURNING id",
    )
    .bind(PATIENCE)
    .fetch_all(&mut *transaction)
    .await?;
    let held: Vec<Vec<Uuid>> = sqlx::query_scalar(
        "DELETE FROM longhaul.lease
          WHERE (worker_id, number) IN (
                SELECT l.worker_id, l.number
                  FROM longhaul.lease l
                  LEFT JOIN longhaul.worker w ON w.id = l.worker_id
                 WHERE w.id IS NULL OR w.lost_at IS NOT NULL OR w.stopped_at IS NOT NULL
                 LIMIT $1
                   FOR UPDATE OF l SKIP LOCKED)
         RETURNING task_ids",
    )
    .bind(LEASES_AT_ONCE)
    .fetch_all(&mut *transaction)
    .await?;
    let (requeued, failed) = put_back(&mut transaction, &held.concat(), true).await?;
    transaction.commit().await?;
    Ok(Rescued { workers, requeued, failed })
}

/// Puts back the tasks of one lease that its worker knows nothing of, because
/// the answer to the claim was lost: none of them has begun.
///
/// # Errors
/// When the database does not answer.
pub async fn release_lease(pool: &PgPool, lease: LeaseKey) -> sqlx::Result<usize> {
    let mut transaction = pool.begin().await?;
    let held: Vec<Vec<Uuid>> =
        sqlx::query_scalar("DELETE FROM longhaul.lease WHERE worker_id = $1 AND number = $2 RETURNING task_ids")
            .bind(lease.worker_id)
            .bind(lease.number)
            .fetch_all(&mut *transaction)
            .await?;
    let (requeued, _) = put_back(&mut transaction, &held.concat(), false).await?;
    transaction.commit().await?;
    Ok(requeued)
}

/// A second statement after the lease's deletion, so that it sees what the
/// worker committed before.
const PUT_BACK: &str = "
    WITH back AS (
        UPDATE longhaul.task t
           SET attempt = n.attempt,
               state = CASE WHEN $2 AND n.attempt >= t.max_attempts THEN 'Failed' ELSE 'Queued' END::longhaul.task_state,
               finished_at = CASE WHEN $2 AND n.attempt >= t.max_attempts THEN now() END,
               error = CASE WHEN $2 AND n.attempt >= t.max_attempts THEN $3::jsonb END
          FROM (SELECT id, CASE WHEN state = 'Running' OR NOT $2 THEN attempt ELSE attempt + 1 END::smallint AS attempt
                  FROM longhaul.task WHERE id = ANY ($1::uuid[]) FOR UPDATE) n
         WHERE t.id = n.id AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')
        RETURNING t.id, t.queue, t.priority, t.state, t.attempt, t.worker_id
    ), ready AS (
        INSERT INTO longhaul.ready (queue, priority, id)
        SELECT queue, priority, id FROM back WHERE state = 'Queued'
        RETURNING queue
    ), woken AS (
        SELECT pg_notify('longhaul_ready', queue) FROM (SELECT DISTINCT queue FROM ready) AS waiting
    ), lost AS (
        INSERT INTO longhaul.attempt_error (task_id, attempt, worker_id, error)
        SELECT id, attempt, worker_id, $3::jsonb FROM back WHERE $2
    )
    SELECT count(*) FILTER (WHERE state = 'Queued'), count(*) FILTER (WHERE state = 'Failed')
      FROM back WHERE (SELECT count(*) FROM woken) >= 0";

/// `begun`: the attempts count, since the worker may have begun them.
async fn put_back(transaction: &mut PgConnection, ids: &[Uuid], begun: bool) -> sqlx::Result<(usize, usize)> {
    if ids.is_empty() {
        return Ok((0, 0));
    }
    let problem = Problem::new(WORKER_LOST, "The worker that ran this attempt died or lost touch with the database.");
    let (requeued, failed): (i64, i64) = sqlx::query_as(PUT_BACK)
        .bind(ids)
        .bind(begun)
        .bind(serde_json::to_value(problem).unwrap_or(Value::Null))
        .fetch_one(transaction)
        .await?;
    Ok((usize::try_from(requeued).unwrap_or(0), usize::try_from(failed).unwrap_or(0)))
}
