//! Putting back what dead workers held.

use std::time::Duration;

use serde_json::Value;
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::worker::PATIENCE;
use super::{DEADLINE, Failure, LeaseKey, within};
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
    /// Sessions that held a lease of a worker at work no more, and were ended.
    pub sessions: usize,
}

/// Presumes workers dead that have been silent for too long, and notes that a worker looked.
///
/// Silence counts only while workers look: a gap between two looks in which a living worker
/// may have had no chance to beat is no part of it (`longhaul.silence`). When a gap begins,
/// the last beat of a living worker is a heartbeat old at most, and the next beat comes soon
/// after the gap's end (the worker's `beat_try.rs`): so half a heartbeat between two looks
/// counts as silence and leaves the worker within its patience of 1.7 heartbeats; what is
/// longer is a gap. Where the workers that are left look more rarely than every fifth of the
/// shortest heartbeat, what is a gap follows from how often they look.
///
/// Where every look comes late, as on a machine that is overloaded for long, all of the time is
/// gaps, and no death would ever be noticed. So each look, however late, also counts for half a
/// heartbeat, and six heartbeats of these are silence, too. For that, gaps that follow each
/// other are kept apart: the moment of the look between them belongs to neither.
///
/// The statement takes the time once: if the server freezes while it runs, it judges by the
/// time before. It commits by itself, so that a long transaction that puts many tasks back
/// does not hide that a worker looks; and it commits asynchronously, since what a crash of
/// the server loses is found out again.
const PRESUME: &str = "
    WITH moment AS MATERIALIZED (
        SELECT clock_timestamp() AS at, set_config('synchronous_commit', 'off', true)
    ), fleet AS MATERIALIZED (
        SELECT min(heartbeat_ms) AS shortest_ms, least(min(heartbeat_at), (SELECT at FROM moment)) AS oldest_beat
          FROM longhaul.worker WHERE lost_at IS NULL AND stopped_at IS NULL
    ), tolerated AS MATERIALIZED (
        SELECT greatest(0.5 * shortest_ms, 0.05 * $2) * interval '1 ms' AS gap FROM fleet
    ), seen AS MATERIALIZED (
        SELECT m.at, o.looked_at, coalesce(o.looked_at < m.at - t.gap, true) AS in_vain,
               coalesce(o.gaps, '{}')
                   + CASE WHEN coalesce(o.looked_at < m.at - t.gap, true)
                          THEN tstzmultirange(tstzrange(coalesce(o.looked_at, '-infinity'), m.at, '()'))
                          ELSE '{}' END AS gaps
          FROM moment m CROSS JOIN tolerated t LEFT JOIN longhaul.observation o ON true
    ), noted AS (
        INSERT INTO longhaul.observation AS o (gaps, looked_at)
        SELECT seen.gaps, seen.at FROM seen CROSS JOIN tolerated t
         WHERE seen.in_vain OR seen.looked_at < seen.at - t.gap * 0.2 OR seen.looked_at > seen.at
            ON CONFLICT (single) DO UPDATE
               SET gaps = (o.gaps + excluded.gaps) * tstzmultirange(tstzrange((SELECT oldest_beat FROM fleet), NULL)),
                   looked_at = excluded.looked_at
         WHERE o.looked_at < excluded.looked_at OR o.looked_at > clock_timestamp()
    ), lost AS (
        UPDATE longhaul.worker SET lost_at = (SELECT at FROM seen)
         WHERE id = ANY (ARRAY(
               SELECT w.id FROM longhaul.worker w CROSS JOIN seen
                WHERE w.lost_at IS NULL AND w.stopped_at IS NULL
                  AND (longhaul.silence(w.heartbeat_at, seen.at, seen.gaps) > w.heartbeat_ms * $1 * interval '1 ms'
                       OR (SELECT sum(least(upper(gap) - lower(gap), w.heartbeat_ms * interval '0.5 ms'))
                             FROM unnest(seen.gaps * tstzmultirange(tstzrange(longhaul.heard(w.heartbeat_at, seen.at), seen.at))) AS gap)
                          > w.heartbeat_ms * interval '6 ms')
                  FOR UPDATE OF w SKIP LOCKED))
        RETURNING id
    )
    SELECT (SELECT shortest_ms FROM fleet), ARRAY(SELECT id FROM lost)";

/// At most this many leases are put back in one transaction.
const LEASES_AT_ONCE: i64 = 64;

/// A lease belongs to a worker that is at work, or is taken: so only the gaps between
/// the ids of those are read. Under an old snapshot `lease` keeps a dead row for each
/// batch that they ever claimed, which this does not read every second. Leases
/// of which only tasks are left that are set aside are passed over ([`super::rescue_apart`]).
macro_rules! in_gaps {
    ($columns:literal, $limit:literal, $lock:literal) => {
        concat!(
            "gap AS MATERIALIZED (
        SELECT lag(id, 1, -1::bigint) OVER (ORDER BY id) + 1 AS first, id - 1 AS last
          FROM (SELECT id::bigint FROM longhaul.worker WHERE lost_at IS NULL AND stopped_at IS NULL
                UNION ALL SELECT 2147483648) AS at_work
    ), picked AS MATERIALIZED (
        SELECT l.*
          FROM gap
         CROSS JOIN LATERAL (
               SELECT ",
            $columns,
            "
                 FROM longhaul.lease
                WHERE lease.worker_id >= gap.first AND lease.worker_id <= gap.last
                  AND NOT (lease.task_ids <> '{}'
                           AND lease.task_ids <@ ARRAY(SELECT longhaul.aside('rescuer')))
                ORDER BY lease.worker_id, lease.number
                LIMIT ",
            $limit,
            $lock,
            ") AS l
         WHERE gap.first <= gap.last
         LIMIT ",
            $limit,
            ")"
        )
    };
}

/// A row that changes just now has another place afterwards: the next rescue takes it.
const TAKE_LEASES: &str = concat!(
    "WITH ",
    in_gaps!("lease.ctid AS place", "$1", " FOR UPDATE SKIP LOCKED"),
    "
    DELETE FROM longhaul.lease WHERE ctid = ANY (ARRAY(SELECT place FROM picked)) RETURNING task_ids"
);

/// One that could not be taken since a session holds it: any of them, so that one whose
/// session can't be ended stands in the way of no other.
const HELD_LEASE: &str = concat!(
    "WITH ",
    in_gaps!("lease.worker_id, lease.number", "64", ""),
    " SELECT worker_id, number FROM picked ORDER BY random() LIMIT 1"
);

/// Presumes workers dead that have been silent for too long and puts their tasks back,
/// also those of leases that stopped workers left. Safe to call from any number
/// of processes at once. It ends sessions that hold a lease of such a worker.
///
/// # Errors
/// When the database does not answer. What was put back before stays so.
pub async fn rescue(pool: &PgPool) -> sqlx::Result<Rescued> {
    Ok(look(pool, Duration::ZERO).await?.0)
}

/// The same, for a worker with this heartbeat, which looks every fifth of the shortest
/// heartbeat in the fleet or every fiftieth of its own, whichever is longer. Also returns that
/// shortest heartbeat.
///
/// # Errors
/// As [`rescue`].
pub async fn look(pool: &PgPool, heartbeat: Duration) -> sqlx::Result<(Rescued, Option<Duration>)> {
    let (shortest_ms, workers): (Option<i32>, Vec<i32>) =
        within(DEADLINE, sqlx::query_as(PRESUME).bind(PATIENCE).bind(heartbeat.as_secs_f64() * 1e3).fetch_one(pool))
            .await?;
    let shortest = shortest_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    let mut rescued = Rescued { workers, ..Rescued::default() };
    if let Some(held) = take_leases(pool, &mut rescued).await? {
        rescued.sessions = end_holders(pool, held).await?;
        if rescued.sessions > 0 {
            take_leases(pool, &mut rescued).await?;
        }
    }
    Ok((rescued, shortest))
}

/// Puts back what leases have whose worker is not at work. Returns one that is left.
async fn take_leases(pool: &PgPool, rescued: &mut Rescued) -> sqlx::Result<Option<LeaseKey>> {
    let mut transaction = pool.begin().await?;
    let taken: Vec<Vec<Uuid>> =
        sqlx::query_scalar(TAKE_LEASES).bind(LEASES_AT_ONCE).fetch_all(&mut *transaction).await?;
    let (requeued, ended) = put_back(&mut transaction, &taken.concat(), true).await?;
    let left: Option<(i32, i64)> = sqlx::query_as(HELD_LEASE).fetch_optional(&mut *transaction).await?;
    transaction.commit().await?;
    rescued.requeued += requeued;
    rescued.ended += ended;
    Ok(left.map(|(worker_id, number)| LeaseKey { worker_id, number }))
}

/// How long to wait for a lease that a session holds.
const HOLDS_ON: &str = "200ms";
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Sessions that keep $1 waiting, if their transaction began while the lease's worker was
/// still taken for alive: its own, then. Later ones are someone else's, and short. Of those
/// of other roles nothing is known; they can't be ended either.
const END_HOLDERS: &str = "
    SELECT pg_terminate_backend(a.pid)
      FROM unnest(pg_blocking_pids($1)) AS holder(pid) JOIN pg_stat_activity a ON a.pid = holder.pid
     WHERE a.xact_start < coalesce((SELECT coalesce(w.lost_at, w.stopped_at) FROM longhaul.worker w WHERE w.id = $2),
                                   now() - interval '1 minute')";

/// Ends the sessions of a dead worker that hold its lease: of a frozen machine, a handler's
/// open transaction may, which would keep the whole batch from others until PostgreSQL's
/// own patience ends (`idle_in_transaction_session_timeout`). The handler's transaction is
/// rolled back, as it would be then. To learn who holds a row one must wait for it.
async fn end_holders(pool: &PgPool, lease: LeaseKey) -> sqlx::Result<usize> {
    let mut waiting = pool.begin().await?;
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid() FROM set_config('lock_timeout', $1, true)")
        .bind(HOLDS_ON)
        .fetch_one(&mut *waiting)
        .await?;
    let mut ended = 0;
    let waited = {
        let wait = sqlx::query("SELECT FROM longhaul.lease WHERE worker_id = $1 AND number = $2 FOR UPDATE")
            .bind(lease.worker_id)
            .bind(lease.number)
            .execute(&mut *waiting);
        tokio::pin!(wait);
        loop {
            tokio::select! {
                biased;
                waited = &mut wait => break waited,
                () = tokio::time::sleep(ASK_EVERY) => {
                    let done: Vec<bool> =
                        sqlx::query_scalar(END_HOLDERS).bind(pid).bind(lease.worker_id).fetch_all(pool).await?;
                    ended += done.into_iter().filter(|done| *done).count();
                }
            }
        }
    };
    waiting.rollback().await?;
    match waited {
        Err(error) if Failure::of(&error) != Failure::Passing => Err(error),
        _ => Ok(ended),
    }
}

/// Forbids a lease whose claim's answer was lost, and puts back its tasks, if the claim has
/// been carried out: none of them has begun. The claim's statement may still be under way in
/// the server, so an empty lease is left under the number: a claim that gets so far later
/// meets it, fails, and takes nothing; one that has got so far is waited for. The empty lease
/// goes with its worker ([`rescue`]).
///
/// # Errors
/// When the database fails; call it again then.
pub async fn release_lease(pool: &PgPool, lease: LeaseKey) -> sqlx::Result<usize> {
    let mut transaction = pool.begin().await?;
    sqlx::query(
        "INSERT INTO longhaul.lease (worker_id, number, task_ids, shortened) VALUES ($1, $2, '{}', true)
             ON CONFLICT DO NOTHING",
    )
    .bind(lease.worker_id)
    .bind(lease.number)
    .execute(&mut *transaction)
    .await?;
    // A statement of its own, which sees what a claim that was waited for has committed.
    let held: Vec<Vec<Uuid>> = sqlx::query_scalar(
        "WITH held AS (
             SELECT worker_id, number, task_ids FROM longhaul.lease WHERE worker_id = $1 AND number = $2 FOR NO KEY UPDATE
         ), emptied AS (
             UPDATE longhaul.lease l SET task_ids = '{}', shortened = true FROM held h
              WHERE l.worker_id = h.worker_id AND l.number = h.number AND cardinality(h.task_ids) > 0
         )
         SELECT task_ids FROM held",
    )
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
/// Only what is known to have begun, since its row says that it runs, spends its attempt and
/// counts the crash. What is not known to have begun goes back as it was, and is suspect
/// from then on (`crashes` is 1): a worker stores the start of such a task before it runs
/// it, so at the next crash it is told from the bystanders of its lease.
const PUT_BACK: &str = concat!(
    "
    WITH held AS (
        SELECT t.id, t.max_attempts, t.attempt, $2 AND t.state = 'Running' AS begun,
               CASE WHEN $2 THEN least(greatest(t.crashes + CASE WHEN t.state = 'Running' THEN 1 ELSE 0 END, 1), 32767)
                    ELSE t.crashes END::smallint AS crashes,
               EXISTS (SELECT FROM longhaul.cancel_request c WHERE c.task_id = t.id) AS cancelled
          FROM longhaul.task t
         WHERE t.id = ANY ($1::uuid[]) AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')
           FOR UPDATE
    ), judged AS (
        SELECT *, CASE WHEN cancelled THEN 'Cancelled'
                       WHEN begun AND (crashes >= $5 OR attempt >= max_attempts) THEN 'Failed'
                       ELSE 'Queued' END::longhaul.task_state AS becomes,
               CASE WHEN crashes >= $5 THEN $4::jsonb ELSE $3::jsonb END AS why
          FROM held
    ), back AS (
        UPDATE longhaul.task t
           SET crashes = j.crashes, state = j.becomes,
               finished_at = CASE WHEN j.becomes <> 'Queued' THEN now() END,
               error = CASE WHEN j.becomes = 'Failed' THEN j.why END
          FROM judged j
         WHERE ",
    by_key!("t.id", "j.id"),
    "
        RETURNING t.id, t.queue, t.priority, t.state, t.attempt, t.worker_id, j.begun, j.why
    ), lost AS (
        INSERT INTO longhaul.attempt_error (task_id, attempt, worker_id, error)
        SELECT id, attempt, worker_id, why FROM back WHERE begun AND state <> 'Cancelled'
    )
    SELECT coalesce(array_agg(id) FILTER (WHERE state = 'Queued'), '{}') AS again,
           coalesce(array_agg(queue) FILTER (WHERE state = 'Queued'), '{}') AS queues,
           coalesce(array_agg(priority) FILTER (WHERE state = 'Queued'), '{}') AS priorities,
           coalesce(array_agg(id) FILTER (WHERE state <> 'Queued'), '{}') AS ended
      FROM back"
);

/// What became of tasks that were put back.
#[derive(FromRow)]
struct Back {
    /// They run again: with their queues and priorities, in the same order.
    again: Vec<Uuid>,
    queues: Vec<String>,
    priorities: Vec<i16>,
    ended: Vec<Uuid>,
}

/// `crashed`: the worker may have begun them; else it has begun none.
pub(super) async fn put_back(
    transaction: &mut PgConnection,
    ids: &[Uuid],
    crashed: bool,
) -> sqlx::Result<(usize, usize)> {
    if ids.is_empty() {
        return Ok((0, 0));
    }
    let problem = Problem::new(WORKER_LOST, "The worker of this attempt died or lost its connection to the database.");
    let poison =
        Problem::new(POISON_TASK, "Its workers died repeatedly while they ran it. Only a retry runs it again.");
    let json = |problem| serde_json::to_value(problem).unwrap_or(Value::Null);
    let back: Back = sqlx::query_as(PUT_BACK)
        .bind(ids)
        .bind(crashed)
        .bind(json(problem))
        .bind(json(poison))
        .bind(POISON)
        .fetch_one(&mut *transaction)
        .await?;
    if !back.again.is_empty() {
        sqlx::query("SELECT longhaul.leave_gate($1), longhaul.make_ready($1, $2, $3), longhaul.tell_watchers($1)")
            .bind(&back.again)
            .bind(&back.queues)
            .bind(&back.priorities)
            .execute(&mut *transaction)
            .await?;
    }
    if !back.ended.is_empty() {
        sqlx::query("SELECT longhaul.end_tasks($1)").bind(&back.ended).execute(transaction).await?;
    }
    Ok((back.again.len(), back.ended.len()))
}
