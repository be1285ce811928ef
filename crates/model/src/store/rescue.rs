//! Putting back what dead workers held.

use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::LeaseKey;
use super::worker::PATIENCE;
use crate::problem::{POISON_TASK, Problem, WORKER_LOST};

/// What one rescue did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rescued {
    /// Workers that were presumed dead now.
    pub workers: Vec<i32>,
    /// Tasks that were put back.
    pub requeued: usize,
    /// Tasks that ended: no attempt left, poisonous, or cancelled meanwhile.
    pub ended: usize,
}

/// At most this many leases are put back in one transaction.
const LEASES_AT_ONCE: i64 = 64;

/// A lease belongs to a worker that is at work, or is taken: so only the gaps between
/// the ids of those are read. Under an old snapshot `lease` keeps a dead row for each
/// batch that they ever claimed, which this does not read every second. A row that
/// changes just now has another place afterwards: the next rescue takes it.
const TAKE_LEASES: &str = "
    WITH gap AS MATERIALIZED (
        SELECT lag(id, 1, -1::bigint) OVER (ORDER BY id) + 1 AS first, id - 1 AS last
          FROM (SELECT id::bigint FROM longhaul.worker WHERE lost_at IS NULL AND stopped_at IS NULL
                UNION ALL SELECT 2147483648) AS at_work
    ), picked AS MATERIALIZED (
        SELECT l.place
          FROM gap
         CROSS JOIN LATERAL (
               SELECT lease.ctid AS place
                 FROM longhaul.lease
                WHERE lease.worker_id >= gap.first AND lease.worker_id <= gap.last
                ORDER BY lease.worker_id, lease.number
                LIMIT $1
                  FOR UPDATE SKIP LOCKED) AS l
         WHERE gap.first <= gap.last
         LIMIT $1
    )
    DELETE FROM longhaul.lease WHERE ctid = ANY (ARRAY(SELECT place FROM picked)) RETURNING task_ids";

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
    let held: Vec<Vec<Uuid>> =
        sqlx::query_scalar(TAKE_LEASES).bind(LEASES_AT_ONCE).fetch_all(&mut *transaction).await?;
    let (requeued, ended) = put_back(&mut transaction, &held.concat(), true).await?;
    transaction.commit().await?;
    Ok(Rescued { workers, requeued, ended })
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

/// A task whose worker died this often is set aside: it most likely kills them.
pub const POISON: i16 = 3;

/// A second statement after the lease's deletion, so that it sees what the
/// worker committed before.
///
/// A crash counts against a task that was surely at work, or that has none yet:
/// a worker stores the start of a task with a crash before it runs it, so from
/// the second crash on bystanders of the same lease are told apart.
const PUT_BACK: &str = concat!(
    "
    WITH held AS (
        SELECT t.id, t.max_attempts,
               CASE WHEN t.state = 'Running' OR NOT $2 THEN t.attempt ELSE t.attempt + 1 END::smallint AS attempt,
               CASE WHEN $2 AND (t.state = 'Running' OR t.crashes = 0) THEN t.crashes + 1 ELSE t.crashes END::smallint AS crashes,
               EXISTS (SELECT FROM longhaul.cancel_request c WHERE c.task_id = t.id) AS cancelled
          FROM longhaul.task t
         WHERE t.id = ANY ($1::uuid[]) AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')
           FOR UPDATE
    ), judged AS (
        SELECT *, CASE WHEN cancelled THEN 'Cancelled'
                       WHEN $2 AND (crashes >= $5 OR attempt >= max_attempts) THEN 'Failed'
                       ELSE 'Queued' END::longhaul.task_state AS becomes,
               CASE WHEN crashes >= $5 THEN $4::jsonb ELSE $3::jsonb END AS why
          FROM held
    ), back AS (
        UPDATE longhaul.task t
           SET attempt = j.attempt, crashes = j.crashes, state = j.becomes,
               finished_at = CASE WHEN j.becomes <> 'Queued' THEN now() END,
               error = CASE WHEN j.becomes = 'Failed' THEN j.why END
          FROM judged j
         WHERE ",
    by_key!("t.id", "j.id"),
    "
        RETURNING t.id, t.queue, t.priority, t.state, t.attempt, t.worker_id, t.unique_key, t.followed, j.why
    ), ready AS (
        INSERT INTO longhaul.ready (queue, priority, id)
        SELECT queue, priority, id FROM back WHERE state = 'Queued'
        RETURNING queue
    ), woken AS (
        SELECT pg_notify('longhaul_ready', queue) FROM (SELECT DISTINCT queue FROM ready) AS waiting
    ), told AS (
        SELECT longhaul.tell_watchers(array_agg(id)) FROM back WHERE EXISTS (SELECT FROM longhaul.watched)
    ), lost AS (
        INSERT INTO longhaul.attempt_error (task_id, attempt, worker_id, error)
        SELECT id, attempt, worker_id, why FROM back WHERE $2 AND state <> 'Cancelled'
    ), left_gate AS (
        DELETE FROM longhaul.admitted a USING back b WHERE a.id = b.id AND b.state <> 'Queued'
    ), keys AS (
        DELETE FROM longhaul.task_key k USING back b
         WHERE k.key = b.unique_key AND k.task_id = b.id AND k.expires_at IS NULL AND b.state <> 'Queued'
    ), requests AS (
        DELETE FROM longhaul.cancel_request c USING back b WHERE c.task_id = b.id AND b.state <> 'Queued'
    ), followed AS (
        INSERT INTO longhaul.ended (id) SELECT id FROM back WHERE followed AND state <> 'Queued'
            ON CONFLICT DO NOTHING
        RETURNING id
    ), follower_woken AS (
        SELECT pg_notify('longhaul_followed', '') WHERE EXISTS (SELECT FROM followed)
    )
    SELECT count(*) FILTER (WHERE state = 'Queued'), count(*) FILTER (WHERE state <> 'Queued')
      FROM back WHERE (SELECT count(*) FROM woken) + (SELECT count(*) FROM told)
                                  + (SELECT count(*) FROM follower_woken) >= 0"
);

/// `begun`: the attempts count, since the worker may have begun them.
async fn put_back(transaction: &mut PgConnection, ids: &[Uuid], begun: bool) -> sqlx::Result<(usize, usize)> {
    if ids.is_empty() {
        return Ok((0, 0));
    }
    let problem = Problem::new(WORKER_LOST, "The worker that ran this attempt died or lost touch with the database.");
    let poison = Problem::new(POISON_TASK, "Its workers died while they ran it, again and again; it is set aside.");
    let json = |problem| serde_json::to_value(problem).unwrap_or(Value::Null);
    let (requeued, ended): (i64, i64) = sqlx::query_as(PUT_BACK)
        .bind(ids)
        .bind(begun)
        .bind(json(problem))
        .bind(json(poison))
        .bind(POISON)
        .fetch_one(transaction)
        .await?;
    Ok((usize::try_from(requeued).unwrap_or(0), usize::try_from(ended).unwrap_or(0)))
}
