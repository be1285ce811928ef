//! Claiming: taking ready tasks under a lease.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{FromRow, PgExecutor};
use uuid::Uuid;

use super::{ClaimedTask, LeaseKey};
use crate::Progress;
use crate::clock::{id_floor, id_ms};

/// The lateral subquery stops as soon as enough rows are found: `probe` comes in
/// the order of priority, and each probe is one descent of the primary key that
/// starts at its floor. Deleting by ctid is safe because the rows are locked.
/// The arrays (instead of joins) keep the planner from ever scanning `ready` or
/// `task` as a whole, whatever its statistics say.
const CLAIM: &str = "
    WITH probe AS MATERIALIZED (
        SELECT p.*, set_config('synchronous_commit', 'off', true)
          FROM unnest($1::text[], $2::smallint[], $3::uuid[]) AS p(queue, priority, floor)
    ), picked AS MATERIALIZED (
        SELECT found.place
          FROM probe
         CROSS JOIN LATERAL (
               SELECT ready.ctid AS place
                 FROM longhaul.ready
                WHERE ready.queue = probe.queue AND ready.priority = probe.priority AND ready.id >= probe.floor
                ORDER BY ready.id
                LIMIT $4
                  FOR UPDATE SKIP LOCKED) AS found
         LIMIT $4
    ), taken AS (
        DELETE FROM longhaul.ready
         WHERE ctid = ANY (ARRAY(SELECT place FROM picked))
        RETURNING queue, priority, id
    ), lease AS (
        INSERT INTO longhaul.lease (worker_id, number, task_ids)
        SELECT $5, $6, array_agg(id) FROM taken HAVING count(*) > 0
    )
    SELECT taken.queue, taken.priority, task.id, task.type, task.attempt, task.max_attempts, task.parameters,
           task.checkpoint, task.total_elements, task.processed_elements, task.fraction, task.message
      FROM taken
      JOIN longhaul.task ON task.id = taken.id
     ORDER BY taken.priority, taken.id";

/// Where claims start to look, per queue and priority, so that they need not
/// step over what is long gone.
///
/// Deleted rows stay in the index until vacuum, and while an old snapshot is
/// held they can't even be marked dead. A scan from the left would step over
/// all of them; this one starts where the last one ended. Ids grow with the
/// database's time, so what is missed below the floor was committed late or put
/// back: a look a second further back (every 50 ms and before going idle)
/// and a sweep from zero (every few seconds, more rarely if it is slow) find it.
#[derive(Debug)]
pub struct Floors {
    queues: Vec<String>,
    found: HashMap<(String, i16), Uuid>,
    next_window: Instant,
    next_sweep: Instant,
    must_sweep: bool,
}

/// How far before the floor a late commit is expected, in ms.
const WINDOW_MS: i64 = 1_000;
const WINDOW_EVERY: Duration = Duration::from_millis(50);
const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// A sweep may take this share of the time at most.
const SWEEP_SHARE: u32 = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Floor,
    Window,
    Sweep,
}

impl Floors {
    /// For these queues; the first claim sweeps.
    #[must_use]
    pub fn new(queues: Vec<String>) -> Self {
        let now = Instant::now();
        Self { queues, found: HashMap::new(), next_window: now, next_sweep: now, must_sweep: true }
    }

    /// Makes the next claim sweep from zero: something was put back, or the
    /// connection was lost and nobody knows what happened since.
    pub fn forget(&mut self) {
        self.must_sweep = true;
    }

    fn look(&self, now: Instant, idle: bool) -> Look {
        if self.must_sweep || now >= self.next_sweep {
            Look::Sweep
        } else if idle || now >= self.next_window {
            Look::Window
        } else {
            Look::Floor
        }
    }

    fn probes(&self, look: Look) -> (Vec<&str>, Vec<i16>, Vec<Uuid>) {
        let mut probes = (Vec::new(), Vec::new(), Vec::new());
        for priority in 0..=9 {
            for queue in &self.queues {
                let floor = match (look, self.found.get(&(queue.clone(), priority))) {
                    (Look::Sweep, _) | (_, None) => Uuid::nil(),
                    (Look::Floor, Some(id)) => *id,
                    (Look::Window, Some(id)) => id_floor(id_ms(*id) - WINDOW_MS),
                };
                probes.0.push(queue.as_str());
                probes.1.push(priority);
                probes.2.push(floor);
            }
        }
        probes
    }

    fn learn(&mut self, look: Look, began: Instant, rows: &[ClaimRow], wanted: usize) {
        for row in rows {
            let floor = self.found.entry((row.queue.clone(), row.priority)).or_insert(row.id);
            *floor = (*floor).max(row.id);
        }
        let now = Instant::now();
        // A look that came back full did not get to the end of what it was for.
        if rows.len() < wanted {
            if look == Look::Sweep {
                self.must_sweep = false;
                self.next_sweep = now + SWEEP_EVERY.max((now - began) * SWEEP_SHARE);
            }
            if look != Look::Floor {
                self.next_window = now + WINDOW_EVERY;
            }
        } else if look == Look::Sweep {
            // Full again and again from zero: a deep backlog, which is in order.
            self.next_sweep = now + WINDOW_EVERY.max((now - began) * SWEEP_SHARE);
            self.must_sweep = false;
        }
    }
}

#[derive(FromRow)]
struct ClaimRow {
    queue: String,
    priority: i16,
    id: Uuid,
    #[sqlx(rename = "type")]
    type_name: String,
    attempt: i16,
    max_attempts: i16,
    parameters: Value,
    checkpoint: Option<Value>,
    total_elements: i64,
    processed_elements: i64,
    fraction: f32,
    message: Option<String>,
}

/// Takes at most `limit` ready tasks, by priority and then age, and puts them
/// under the new lease `lease`. Writes nothing to the task rows: running follows
/// from the lease. `idle` says that the caller goes to sleep if it gets nothing.
///
/// # Errors
/// When the database fails. The claim may have happened all the same: give it
/// back with [`super::rescue::release_lease`].
pub async fn claim(
    executor: impl PgExecutor<'_>,
    floors: &mut Floors,
    lease: LeaseKey,
    limit: usize,
    idle: bool,
) -> sqlx::Result<Vec<ClaimedTask>> {
    let began = Instant::now();
    let look = floors.look(began, idle);
    let (queues, priorities, starts) = floors.probes(look);
    let rows: Vec<ClaimRow> = sqlx::query_as(CLAIM)
        .bind(&queues)
        .bind(&priorities)
        .bind(&starts)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(lease.worker_id)
        .bind(lease.number)
        .fetch_all(executor)
        .await?;
    floors.learn(look, began, &rows, limit);
    Ok(rows.into_iter().map(|row| row.into_task(lease)).collect())
}

impl ClaimRow {
    fn into_task(self, lease: LeaseKey) -> ClaimedTask {
        ClaimedTask {
            lease,
            id: self.id,
            type_name: self.type_name,
            attempt: u16::try_from(self.attempt).unwrap_or(0).saturating_add(1),
            max_attempts: u16::try_from(self.max_attempts).unwrap_or(1),
            parameters: self.parameters,
            checkpoint: self.checkpoint,
            progress: Progress {
                total: self.total_elements,
                processed: self.processed_elements,
                fraction: f64::from(self.fraction),
                message: self.message,
            },
        }
    }
}
