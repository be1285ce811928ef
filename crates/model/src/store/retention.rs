//! Removing what is over for long enough.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgExecutor;
use uuid::Uuid;

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
    /// Tasks that were looked at.
    pub seen: i64,
    /// Tasks that were removed.
    pub removed: i64,
    /// Whether there is more to look at now.
    pub more: bool,
}

/// The rows are removed as they are when the lock is got: one that a person has
/// started again meanwhile stays.
const FLUSH: &str = "
    WITH part AS MATERIALIZED (
        SELECT id, ended.kept_us
          FROM (SELECT id, state, finished_at FROM longhaul.task WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3) t
          LEFT JOIN (VALUES ('Succeeded'::longhaul.task_state, $4::bigint), ('Cancelled', $5), ('Failed', $6))
                 AS ended(state, kept_us)
                 ON ended.state = t.state AND t.finished_at < now() - ended.kept_us * interval '1 microsecond'
    ), removed AS (
        DELETE FROM longhaul.task t
         USING part p
         WHERE t.id = p.id AND p.kept_us IS NOT NULL
           AND t.finished_at < now() - p.kept_us * interval '1 microsecond'
        RETURNING t.id, t.unique_key, t.logged, t.followed
    ), keys AS (
        DELETE FROM longhaul.task_key k USING removed r WHERE k.key = r.unique_key AND k.task_id = r.id
    ), logs AS (
        -- By an array, so that it is looked up by the key, however large the table is.
        DELETE FROM longhaul.task_log WHERE task_id = ANY (ARRAY(SELECT id FROM removed WHERE logged IS NOT NULL))
    ), edges AS (
        DELETE FROM longhaul.dependency WHERE task_id = ANY (ARRAY(SELECT id FROM removed))
    ), family AS (
        DELETE FROM longhaul.family WHERE parent_id = ANY (ARRAY(SELECT id FROM removed WHERE followed))
    ), children AS (
        DELETE FROM longhaul.child WHERE parent_id = ANY (ARRAY(SELECT id FROM removed WHERE followed))
    )
    SELECT (SELECT id FROM part ORDER BY id DESC LIMIT 1), (SELECT count(*) FROM part), (SELECT count(*) FROM removed)";

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
    /// When the database does not answer; nothing has changed then.
    pub async fn step(
        &mut self,
        executor: impl PgExecutor<'_>,
        retention: &Retention,
        now_ms: i64,
        limit: i64,
    ) -> sqlx::Result<Flushed> {
        let sweep = match self.sweep {
            None if now_ms - self.swept_at_ms >= millis(sweep_every(retention)) => Some(Uuid::nil()),
            under_way => under_way,
        };
        // A task can't have ended before it was accepted. The front may only
        // reach what is too young for every state.
        let young = id_floor(now_ms.saturating_sub(millis(retention.shortest())));
        let (from, to) = match sweep {
            Some(from) => (from, self.front.min(young)),
            None => (self.front, young),
        };
        let (last, seen, removed): (Option<Uuid>, i64, i64) = sqlx::query_as(FLUSH)
            .bind(from)
            .bind(to)
            .bind(limit)
            .bind(whole_micros(retention.succeeded))
            .bind(whole_micros(retention.cancelled))
            .bind(whole_micros(retention.failed))
            .fetch_one(executor)
            .await?;
        let whole = seen >= limit;
        let beyond = last.map(|last| Uuid::from_u128(last.as_u128().saturating_add(1)));
        match sweep {
            Some(_) => {
                if self.sweep.is_none() {
                    self.swept_at_ms = now_ms;
                }
                self.sweep = beyond.filter(|_| whole);
            }
            None => self.front = if whole { beyond.unwrap_or(to) } else { to.max(self.front) },
        }
        Ok(Flushed { seen, removed, more: whole || sweep.is_some() })
    }
}

/// Records of firings, and rows of workers and leaders, are kept this long.
const LEFTOVERS: Duration = Duration::from_secs(30 * 24 * 3600);

const PRUNE: &str = "
    WITH workers AS (
        DELETE FROM longhaul.worker w
         WHERE coalesce(w.stopped_at, w.lost_at) < now() - $1 * interval '1 microsecond'
           AND NOT EXISTS (SELECT FROM longhaul.lease l WHERE l.worker_id = w.id)
        RETURNING 1
    ), firings AS (
        DELETE FROM longhaul.firing f
         WHERE f.ctid = ANY (ARRAY(SELECT ctid FROM longhaul.firing
                                    WHERE due_at < now() - $2 * interval '1 microsecond' LIMIT $3))
           AND f.due_at < (SELECT coalesce(s.last_fired_at, 'infinity') FROM longhaul.schedule s WHERE s.name = f.schedule)
        RETURNING 1
    ), keys AS (
        DELETE FROM longhaul.task_key k
         WHERE k.expires_at <= now() OR NOT EXISTS (SELECT FROM longhaul.task t WHERE t.id = k.task_id)
    ), requests AS (
        -- Who asked just when the task ended left one that nobody takes away.
        DELETE FROM longhaul.cancel_request c
         WHERE NOT EXISTS (SELECT FROM longhaul.task t WHERE t.id = c.task_id AND t.finished_at IS NULL)
    ), leaders AS (
        DELETE FROM longhaul.leader WHERE until < now() - $2 * interval '1 microsecond'
    )
    SELECT (SELECT count(*) FROM workers), (SELECT count(*) FROM firings)";

/// What [`prune`] removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// Rows of workers that stopped or were lost.
    pub workers: i64,
    /// Records of firings.
    pub firings: i64,
}

/// Removes rows of workers that ended 30 days ago (or as long as tasks are kept,
/// if that is longer, so that no ended task names a worker that is gone) and
/// hold no lease, records of firings older than 30 days but for each schedule's
/// last, keys whose time is over or whose task is gone, and forgotten leaders.
///
/// # Errors
/// When the database does not answer.
pub async fn prune(executor: impl PgExecutor<'_>, retention: &Retention) -> sqlx::Result<Pruned> {
    let workers = LEFTOVERS.max(retention.longest() + DAY);
    let (workers, firings) = sqlx::query_as(PRUNE)
        .bind(whole_micros(workers))
        .bind(whole_micros(LEFTOVERS))
        .bind(10_000_i64)
        .fetch_one(executor)
        .await?;
    Ok(Pruned { workers, firings })
}
