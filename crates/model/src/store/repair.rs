//! The safety net: finds stranded tasks and returns them to the queue.
//!
//! No known defect strands a task. If there is one, its tasks continue within minutes, and
//! `longhaul.repaired` shows that there is a defect to fix.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgExecutor, PgPool};
use uuid::Uuid;

use super::unsuccessful::mend;
use crate::clock::id_floor;

/// Where the walks through the tasks are. Ids grow with the time of acceptance. One walk goes
/// through the tasks of the last hour again and again, where a stranded task most likely is;
/// the other goes through all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    recent: Uuid,
    all: Uuid,
}

/// What one step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Tasks that were returned to the queue.
    pub repaired: i32,
    /// Both walks have reached their end and will begin anew.
    pub done: bool,
}

const RECENT: Duration = Duration::from_secs(3600);

/// The next tasks of a walk; a task that was accepted a moment ago is left to the next round.
const NEXT: &str = "
    WITH part AS MATERIALIZED (
        SELECT id, state FROM longhaul.task WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3
    )
    SELECT (SELECT count(*) FROM part), (SELECT id FROM part ORDER BY id DESC LIMIT 1),
           ARRAY(SELECT id FROM part WHERE state NOT IN ('Succeeded', 'Failed', 'Cancelled'))";

const STRANDED: &str = "SELECT id FROM longhaul.places($1) WHERE cardinality(places) = 0";

impl Inspection {
    /// Looks at the next `limit` tasks (1 or more) of both walks, puts back those that are
    /// open and in no place, and mends what is written of those that failed or were cancelled. `now_ms` is the database's time in milliseconds since 1970.
    ///
    /// # Errors
    /// If the database fails; nothing has changed then.
    pub async fn step(&mut self, pool: &PgPool, now_ms: i64, limit: i64) -> sqlx::Result<Inspected> {
        let hour_ago = id_floor(now_ms - i64::try_from(RECENT.as_millis()).unwrap_or(0));
        let now = id_floor(now_ms);
        let (recent, recent_ended) = walk(pool, self.recent.max(hour_ago), now, limit).await?;
        let (all, all_ended) = walk(pool, self.all, now, limit).await?;
        let repaired = recent.repaired + all.repaired;
        self.recent = if recent_ended { Uuid::nil() } else { recent.last };
        self.all = if all_ended { Uuid::nil() } else { all.last };
        Ok(Inspected { repaired, done: recent_ended && all_ended })
    }
}

struct Part {
    last: Uuid,
    repaired: i32,
}

async fn walk(pool: &PgPool, after: Uuid, before: Uuid, limit: i64) -> sqlx::Result<(Part, bool)> {
    let (seen, last, open): (i64, Option<Uuid>, Vec<Uuid>) =
        sqlx::query_as(NEXT).bind(after).bind(before).bind(limit).fetch_one(pool).await?;
    let mut repaired = 0;
    if !open.is_empty() {
        let stranded: Vec<Uuid> = sqlx::query_scalar(STRANDED).bind(&open).fetch_all(pool).await?;
        if !stranded.is_empty() {
            repaired = repair(pool, &stranded).await?;
        }
    }
    // Up to the end of the walk, where rows of tasks may stand that are gone.
    let ended = seen < limit;
    let reached = last.filter(|_| !ended).unwrap_or(before);
    let mended = mend(pool, after, reached).await?;
    if mended > 0 {
        tracing::info!(tasks = mended, "corrected completions that workers of an earlier release had not recorded");
    }
    Ok((Part { last: last.unwrap_or(after), repaired }, ended))
}

/// Queues those of these tasks that are open and in no place (`longhaul.repair`), and writes
/// each down in `longhaul.repaired`. Returns how many.
///
/// # Errors
/// If the database fails; nothing has changed then.
pub async fn repair(executor: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<i32> {
    sqlx::query_scalar("SELECT longhaul.repair($1)").bind(ids).fetch_one(executor).await
}

/// A contradiction between the queue's tables.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Misplaced {
    /// The task.
    pub id: Uuid,
    /// What is wrong, in words.
    pub problem: String,
}

/// The first `limit` contradictions between the queue's tables (`longhaul.misplaced`). Reads
/// all tasks.
///
/// # Errors
/// If the database fails.
pub async fn misplaced(executor: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<Misplaced>> {
    sqlx::query_as("SELECT id, problem FROM longhaul.misplaced() LIMIT $1").bind(limit).fetch_all(executor).await
}

/// The number of tasks that were returned to the queue within the last `within`.
///
/// # Errors
/// If the database fails.
pub async fn repaired(executor: impl PgExecutor<'_>, within: Duration) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "SELECT count(*) FROM longhaul.repaired WHERE repaired_at > now() - $1 * interval '1 microsecond'",
    )
    .bind(super::whole_micros(within))
    .fetch_one(executor)
    .await
}

/// Removes what is known of repairs older than 90 days.
///
/// # Errors
/// If the database fails.
pub async fn prune(executor: impl PgExecutor<'_>) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM longhaul.repaired WHERE repaired_at < now() - interval '90 days'")
        .execute(executor)
        .await?;
    Ok(())
}
