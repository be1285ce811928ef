//! The safety net: finds stranded tasks and returns them to the queue.
//!
//! No known defect strands a task. If there is one, its tasks continue within minutes, and
//! `longhaul.repaired` shows that there is a defect to fix.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgExecutor, PgPool};
use uuid::Uuid;

use super::aside::process_apart;
use super::is_passing;
use super::unsuccessful::{self, amiss, mend};
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
#[derive(Debug, Default)]
pub struct Inspected {
    /// Tasks that were returned to the queue.
    pub repaired: i32,
    /// Both walks have reached their end and will begin anew.
    pub done: bool,
    /// What kept it from repairing anything, and is no row's fault: the walks went on all the same.
    pub failed: Option<sqlx::Error>,
}

/// Under which name tasks are set aside that can't be queued.
pub const SERVICE: &str = "repairer";

const RECENT: Duration = Duration::from_secs(3600);
/// Tasks that were accepted so lately are left to a later round. Most end before that, so that in a
/// busy queue of short tasks there is next to nothing to look at.
const FRESH: Duration = Duration::from_secs(5);

/// The next tasks of a walk.
const NEXT: &str = "
    WITH part AS MATERIALIZED (
        SELECT id, state FROM longhaul.task WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3
    )
    SELECT (SELECT count(*) FROM part), (SELECT id FROM part ORDER BY id DESC LIMIT 1),
           ARRAY(SELECT id FROM part WHERE state NOT IN ('Succeeded', 'Failed', 'Cancelled'))";

const STRANDED: &str = "
    SELECT id FROM longhaul.places($1)
     WHERE cardinality(places) = 0
       AND id <> ALL (ARRAY(SELECT longhaul.aside($2)))";

impl Inspection {
    /// Looks at the next `limit` tasks (1 or more) of both walks, puts back those that are
    /// open and in no place, and mends what is written of those that failed or were cancelled. Tasks
    /// that the database refuses to change are set aside ([`super::aside`]), and the walks go on.
    /// Tasks that were accepted in the last five seconds are left out. `now_ms` is the database's time
    /// in milliseconds since 1970.
    ///
    /// # Errors
    /// If the database does not answer; the walks stay where they are then.
    pub async fn step(&mut self, pool: &PgPool, now_ms: i64, limit: i64) -> sqlx::Result<Inspected> {
        let ago = |time: Duration| id_floor(now_ms - i64::try_from(time.as_millis()).unwrap_or(0));
        let (hour_ago, before) = (ago(RECENT), ago(FRESH));
        let mut inspected = Inspected::default();
        let (recent, recent_ended) = walk(pool, self.recent.max(hour_ago), before, limit, &mut inspected).await?;
        let (all, all_ended) = walk(pool, self.all, before, limit, &mut inspected).await?;
        self.recent = if recent_ended { Uuid::nil() } else { recent };
        self.all = if all_ended { Uuid::nil() } else { all };
        Ok(Inspected { done: recent_ended && all_ended, ..inspected })
    }
}

impl Inspected {
    /// The sum of a part's work, of which each half goes on if the other can't.
    fn sum(&mut self, done: sqlx::Result<(Vec<i32>, usize)>) -> sqlx::Result<i32> {
        match done {
            Ok((done, _set_aside)) => Ok(done.iter().sum()),
            Err(error) if is_passing(&error) => Err(error),
            Err(error) => {
                self.failed.get_or_insert(error);
                Ok(0)
            }
        }
    }
}

/// Returns the last task that it looked at, and whether there are no more.
async fn walk(
    pool: &PgPool,
    after: Uuid,
    before: Uuid,
    limit: i64,
    inspected: &mut Inspected,
) -> sqlx::Result<(Uuid, bool)> {
    let (seen, last, open): (i64, Option<Uuid>, Vec<Uuid>) =
        sqlx::query_as(NEXT).bind(after).bind(before).bind(limit).fetch_one(pool).await?;
    if !open.is_empty() {
        let stranded: Vec<Uuid> = sqlx::query_scalar(STRANDED).bind(&open).bind(SERVICE).fetch_all(pool).await?;
        let put_back = |ids: Vec<Uuid>| async move { repair(pool, &ids).await };
        let repaired = process_apart(pool, SERVICE, stranded, put_back).await;
        inspected.repaired += inspected.sum(repaired)?;
    }
    // Up to the end of the walk, where rows of tasks may stand that are gone.
    let ended = seen < limit;
    let reached = last.filter(|_| !ended).unwrap_or(before);
    let write_down = |ids: Vec<Uuid>| async move { mend(pool, &ids).await };
    let mended = process_apart(pool, unsuccessful::SERVICE, amiss(pool, after, reached).await?, write_down).await;
    let mended = inspected.sum(mended)?;
    if mended > 0 {
        tracing::info!(tasks = mended, "corrected completions that workers of an earlier release had not recorded");
    }
    Ok((last.unwrap_or(after), ended))
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
pub struct Contradiction {
    /// The task; nil if it is of no one task.
    pub id: Uuid,
    /// What is wrong, in words.
    pub problem: String,
}

/// The first `limit` tasks in a wrong place (`longhaul.misplaced`). Reads all tasks.
///
/// # Errors
/// If the database fails.
pub async fn misplaced(executor: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<Contradiction>> {
    sqlx::query_as("SELECT id, problem FROM longhaul.misplaced() LIMIT $1").bind(limit).fetch_all(executor).await
}

/// The first `limit` contradictions of any kind (`longhaul.contradictions`). Reads all tasks.
///
/// # Errors
/// If the database fails.
pub async fn contradictions(executor: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<Contradiction>> {
    sqlx::query_as("SELECT id, problem FROM longhaul.contradictions() LIMIT $1").bind(limit).fetch_all(executor).await
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
