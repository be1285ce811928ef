//! Removing what is over for long enough.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;
use sqlx::{PgExecutor, PgPool, Postgres};
use uuid::Uuid;

use super::aside::process_apart;
use super::whole_micros;
use crate::clock::id_floor;

/// How long things are kept after their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Tasks that succeeded. Default 7 days.
    pub succeeded: Duration,
    /// Tasks that were cancelled. Default 7 days.
    pub cancelled: Duration,
    /// Tasks that failed. Default 30 days.
    pub failed: Duration,
    /// Who did what ([`super::audit`]), a day at least. Default 365 days.
    pub audit: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for Retention {
    fn default() -> Self {
        Self { succeeded: 7 * DAY, cancelled: 7 * DAY, failed: 30 * DAY, audit: 365 * DAY }
    }
}

impl Retention {
    fn shortest(&self) -> Duration {
        self.succeeded.min(self.cancelled).min(self.failed)
    }

    fn longest(&self) -> Duration {
        self.succeeded.max(self.cancelled).max(self.failed)
    }
}

/// How often the tasks left of the front are looked at again: once an hour, and
/// more often if they are kept for less than ten hours.
fn sweep_every(retention: &Retention) -> Duration {
    (retention.shortest() / 10).clamp(Duration::from_secs(1), Duration::from_secs(3600))
}

/// Where the walk through the tasks is. Ids grow with the time of acceptance, so
/// what may be over its time stands left of a bound that moves with the clock.
/// Left of it remain tasks that are kept longer or still open, however many; so
/// the walk goes on from its `front`, where it met only tasks too young, and
/// looks at what it left behind more rarely, once an hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// Everything left of here has been looked at.
    front: Uuid,
    /// Where the hourly look from zero is, while there is one.
    sweep: Option<Uuid>,
    /// When it last began, in milliseconds since 1970.
    swept_at_ms: i64,
}

/// What one step of the walk did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushed {
    /// The last task that was looked at.
    last: Option<Uuid>,
    /// Tasks that were looked at.
    pub seen: i64,
    /// Tasks that were removed.
    pub removed: i64,
    /// Whether there is more to look at now.
    pub more: bool,
}

/// The rows are removed as they are when the lock is got: one that a person has
/// started again meanwhile stays. A unique key whose time is not over outlives its task.
macro_rules! flush {
    ($part:literal) => {
        concat!(
            "WITH part AS MATERIALIZED (
        SELECT id, ended.kept_us
          FROM (SELECT id, state, finished_at FROM longhaul.task WHERE ",
            $part,
            ") t
          LEFT JOIN (VALUES ('Succeeded'::longhaul.task_state, $1::bigint), ('Cancelled', $2), ('Failed', $3))
                 AS ended(state, kept_us)
                 ON ended.state = t.state AND t.finished_at < now() - ended.kept_us * interval '1 microsecond'
    ), removed AS (
        DELETE FROM longhaul.task t
         USING part p
         WHERE t.id = p.id AND p.kept_us IS NOT NULL
           AND t.finished_at < now() - p.kept_us * interval '1 microsecond'
        RETURNING t.id, t.state, t.unique_key, t.logged, t.followed, t.tags
    ), successes AS (
        INSERT INTO longhaul.successes (tasks)
        SELECT -count(*) FROM removed WHERE state = 'Succeeded' HAVING count(*) > 0
    ), unsuccessful AS (
        DELETE FROM longhaul.unsuccessful u
         WHERE u.state IN ('Failed', 'Cancelled')
           AND u.task_id = ANY (ARRAY(SELECT id FROM removed WHERE state <> 'Succeeded'))
    ), keys AS (
        DELETE FROM longhaul.task_key k USING removed r
         WHERE k.key = r.unique_key AND k.task_id = r.id AND (k.expires_at IS NULL OR k.expires_at <= now())
    ), logs AS (
        -- By an array, so that it is looked up by the key, however large the table is.
        DELETE FROM longhaul.task_log WHERE task_id = ANY (ARRAY(SELECT id FROM removed WHERE logged IS NOT NULL))
    ), tags AS (
        -- One look into the index for each tag of each task: many tasks may have the same tag.
        DELETE FROM longhaul.task_tag
         WHERE ctid = ANY (ARRAY(SELECT g.place FROM removed r CROSS JOIN LATERAL unnest(r.tags) AS t(tag)
                                  CROSS JOIN LATERAL (SELECT k.ctid AS place FROM longhaul.task_tag k
                                                       WHERE k.tag = t.tag AND k.task_id = r.id OFFSET 0) AS g))
    ), edges AS (
        DELETE FROM longhaul.dependency WHERE task_id = ANY (ARRAY(SELECT id FROM removed))
    ), family AS (
        DELETE FROM longhaul.family WHERE parent_id = ANY (ARRAY(SELECT id FROM removed WHERE followed))
    ), children AS (
        DELETE FROM longhaul.child WHERE parent_id = ANY (ARRAY(SELECT id FROM removed WHERE followed))
    )
    SELECT (SELECT id FROM part ORDER BY id DESC LIMIT 1), (SELECT count(*) FROM part), (SELECT count(*) FROM removed)"
        )
    };
}

const FLUSH: &str = flush!(
    "id >= $4 AND id < $5
           AND id <> ALL (ARRAY(SELECT longhaul.aside('retention')))
         ORDER BY id LIMIT $6"
);
const FLUSH_THESE: &str = flush!("id = ANY ($4::uuid[])");

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Walk {
    /// When the last look from zero began, in milliseconds since 1970.
    #[must_use]
    pub const fn swept_at_ms(&self) -> i64 {
        self.swept_at_ms
    }

    /// Looks at the next `limit` tasks (1 or more) and removes those that ended
    /// longer ago than their state is kept; what failed attempts left goes with
    /// them. `now_ms` is the database's time.
    ///
    /// # Errors
    /// If the database does not answer. Then nothing has changed.
    pub async fn step(
        &mut self,
        executor: impl PgExecutor<'_>,
        retention: &Retention,
        now_ms: i64,
        limit: i64,
    ) -> sqlx::Result<Flushed> {
        let window = self.window(retention, now_ms);
        let (last, seen, removed): (Option<Uuid>, i64, i64) = bind_kept(sqlx::query_as(FLUSH), retention)
            .bind(window.from)
            .bind(window.to)
            .bind(limit)
            .fetch_one(executor)
            .await?;
        Ok(self.advance(&window, now_ms, limit, Flushed { last, seen, removed, more: false }))
    }

    /// The same by halves: tasks that can't be removed are set aside.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn step_apart(
        &mut self,
        pool: &PgPool,
        retention: &Retention,
        now_ms: i64,
        limit: i64,
    ) -> sqlx::Result<Flushed> {
        let window = self.window(retention, now_ms);
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "SELECT id FROM longhaul.task WHERE id >= $1 AND id < $2
                AND id <> ALL (ARRAY(SELECT longhaul.aside('retention')))
              ORDER BY id LIMIT $3",
        )
        .bind(window.from)
        .bind(window.to)
        .bind(limit)
        .fetch_all(pool)
        .await?;
        let (last, seen) = (ids.last().copied(), i64::try_from(ids.len()).unwrap_or(limit));
        let remove = |ids: Vec<Uuid>| async move { remove_these(pool, retention, &ids).await };
        let (removed, _) = process_apart(pool, SERVICE, ids, remove).await?;
        Ok(self.advance(&window, now_ms, limit, Flushed { last, seen, removed: removed.iter().sum(), more: false }))
    }

    fn window(&self, retention: &Retention, now_ms: i64) -> Window {
        let sweep = match self.sweep {
            None if now_ms - self.swept_at_ms >= millis(sweep_every(retention)) => Some(Uuid::nil()),
            under_way => under_way,
        };
        // A task can't have ended before it was accepted. The front may only
        // reach what is too young for every state.
        let young = id_floor(now_ms.saturating_sub(millis(retention.shortest())));
        match sweep {
            Some(from) => Window { from, to: self.front.min(young), sweeps: true },
            None => Window { from: self.front, to: young, sweeps: false },
        }
    }

    fn advance(&mut self, window: &Window, now_ms: i64, limit: i64, flushed: Flushed) -> Flushed {
        let whole = flushed.seen >= limit;
        let beyond = flushed.last.map(|last| Uuid::from_u128(last.as_u128().saturating_add(1)));
        if window.sweeps {
            if self.sweep.is_none() {
                self.swept_at_ms = now_ms;
            }
            self.sweep = beyond.filter(|_| whole);
        } else {
            self.front = if whole { beyond.unwrap_or(window.to) } else { window.to.max(self.front) };
        }
        Flushed { more: whole || window.sweeps, ..flushed }
    }
}

/// The tasks that one step looks at.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: Uuid,
    to: Uuid,
    /// It is a part of the look from zero.
    sweeps: bool,
}

/// Under which name tasks are set aside that can't be removed.
pub const SERVICE: &str = "retention";

/// Removes those of these tasks whose time is over. Returns how many.
///
/// # Errors
/// If the database does not answer, or refuses one of them; nothing has changed then.
pub async fn remove_these(executor: impl PgExecutor<'_>, retention: &Retention, ids: &[Uuid]) -> sqlx::Result<i64> {
    let (_, _, removed): (Option<Uuid>, i64, i64) =
        bind_kept(sqlx::query_as(FLUSH_THESE), retention).bind(ids).fetch_one(executor).await?;
    Ok(removed)
}

fn bind_kept<'q, O>(
    query: QueryAs<'q, Postgres, O, PgArguments>,
    retention: &Retention,
) -> QueryAs<'q, Postgres, O, PgArguments> {
    query
        .bind(whole_micros(retention.succeeded))
        .bind(whole_micros(retention.cancelled))
        .bind(whole_micros(retention.failed))
}

/// Records of firings, and rows of workers and leaders, are kept this long.
const LEFTOVERS: Duration = Duration::from_secs(30 * 24 * 3600);

/// Rows at most that one prune removes of each kind.
const PRUNED_AT_ONCE: i64 = 10_000;

/// Rows of one table that are over: `$1` microseconds old, where age counts.
#[derive(Debug, Clone, Copy)]
pub struct Leftover {
    /// Under which name rows are set aside.
    pub service: &'static str,
    choose: &'static str,
    remove: &'static str,
}

macro_rules! leftover {
    ($service:literal, $table:literal, $id:literal, $over:literal) => {
        Leftover {
            service: $service,
            choose: concat!(
                "SELECT ",
                $id,
                " FROM ",
                $table,
                " WHERE ",
                $over,
                " AND $1::bigint IS NOT NULL
                    AND ",
                $id,
                " <> ALL (ARRAY(SELECT a.id FROM longhaul.set_aside a WHERE a.service = '",
                $service,
                "'))
                  LIMIT $2"
            ),
            remove: concat!(
                "DELETE FROM ",
                $table,
                " WHERE ",
                $over,
                " AND $1::bigint IS NOT NULL AND ",
                $id,
                " = ANY ($2::text[])"
            ),
        }
    };
}

/// What [`prune`] removes, each in statements of its own.
pub const LEFTOVER: [Leftover; 6] = [
    leftover!(
        "retention/workers",
        "longhaul.worker w",
        "w.id::text",
        "coalesce(w.stopped_at, w.lost_at) < now() - $1 * interval '1 microsecond'
            AND NOT EXISTS (SELECT FROM longhaul.lease l WHERE l.worker_id = w.id)"
    ),
    leftover!(
        "retention/firings",
        "longhaul.firing f",
        "f.schedule || '@' || extract(epoch FROM f.due_at)::text",
        "f.due_at < now() - $1 * interval '1 microsecond'
            AND f.due_at < (SELECT coalesce(s.last_fired_at, 'infinity') FROM longhaul.schedule s WHERE s.name = f.schedule)"
    ),
    // A key that is to keep others out for a period outlives its task.
    leftover!(
        "retention/keys",
        "longhaul.task_key k",
        "k.key",
        "(k.expires_at <= now()
            OR k.expires_at IS NULL AND NOT EXISTS (SELECT FROM longhaul.task t WHERE t.id = k.task_id))"
    ),
    // The end of a task removes its request; releases before this one left some.
    leftover!(
        "retention/requests",
        "longhaul.cancel_request c",
        "c.task_id::text",
        "NOT EXISTS (SELECT FROM longhaul.task t WHERE t.id = c.task_id AND t.finished_at IS NULL)"
    ),
    leftover!(
        "retention/leaders",
        "longhaul.leader l",
        "l.name",
        "l.until < now() - $1 * interval '1 microsecond'"
    ),
    leftover!(
        "retention/troubles",
        "longhaul.trouble t",
        "t.worker_id || '/' || t.part",
        "NOT EXISTS (SELECT FROM longhaul.worker w
                      WHERE w.id = t.worker_id AND w.lost_at IS NULL AND w.stopped_at IS NULL)"
    ),
];

impl Leftover {
    /// Removes those of these rows that are over. Returns how many.
    ///
    /// # Errors
    /// If the database does not answer, or refuses one of them; nothing has changed then.
    pub async fn remove(
        &self,
        executor: impl PgExecutor<'_>,
        retention: &Retention,
        ids: &[String],
    ) -> sqlx::Result<u64> {
        let done = sqlx::query(self.remove).bind(self.age(retention)).bind(ids).execute(executor).await?;
        Ok(done.rows_affected())
    }

    fn age(&self, retention: &Retention) -> i64 {
        // So that no ended task names a worker that is gone.
        let kept =
            if self.service == "retention/workers" { LEFTOVERS.max(retention.longest() + DAY) } else { LEFTOVERS };
        whole_micros(kept)
    }

    /// Removes what is over, 10,000 rows at most; what the database refuses to remove is
    /// set aside. Returns how many were removed.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn prune(&self, pool: &PgPool, retention: &Retention) -> sqlx::Result<u64> {
        let over: Vec<String> =
            sqlx::query_scalar(self.choose).bind(self.age(retention)).bind(PRUNED_AT_ONCE).fetch_all(pool).await?;
        if over.is_empty() {
            return Ok(0);
        }
        let remove = |ids: Vec<String>| async move { self.remove(pool, retention, &ids).await };
        let (removed, _) = process_apart(pool, self.service, over, remove).await?;
        Ok(removed.iter().sum())
    }
}

/// Removes rows of workers that ended 30 days ago (or as long as tasks are kept,
/// if that is longer, so that no ended task names a worker that is gone) and
/// hold no lease, records of firings older than 30 days but for each schedule's
/// last, keys whose time is over (or that last as long as their task, which is gone),
/// requests to cancel ended tasks, forgotten leaders, and the
/// troubles of workers that are gone.
///
/// # Errors
/// If the database does not answer.
pub async fn prune(pool: &PgPool, retention: &Retention) -> sqlx::Result<Pruned> {
    let mut removed = [0; LEFTOVER.len()];
    for (leftover, removed) in LEFTOVER.iter().zip(&mut removed) {
        *removed = leftover.prune(pool, retention).await?;
    }
    let [workers, firings, keys, requests, leaders, _troubles] = removed;
    Ok(Pruned { workers, firings, keys, requests, leaders })
}

/// What [`prune`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Rows of workers that stopped or were lost.
    pub workers: u64,
    /// Records of firings.
    pub firings: u64,
    /// Unique and idempotency keys.
    pub keys: u64,
    /// Requests to cancel.
    pub requests: u64,
    /// Rows of leaders.
    pub leaders: u64,
}
