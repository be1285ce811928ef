//! Claiming: taking ready tasks under a lease.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgExecutor, Row};
use uuid::Uuid;

use super::gate::ADMITTED;
use super::stored::{StoredJson, StoredTime};
use super::{ClaimedTask, LeaseKey};
use crate::clock::{id_floor, id_ms};
use crate::limits::TIMEOUT_SECONDS;
use crate::{DatabaseClock, Progress, TraceContext};

/// Where to look, in the order of priority. A worker that was presumed dead gets nothing until
/// it has registered anew: its leases would only be rescued again, and count as crashes.
/// A task of a gated queue may be taken where it stands once it was admitted ([`super::gate`]),
/// one of another queue where it was stored.
macro_rules! probe {
    ($only:literal) => {
        concat!(
            "WITH probe AS MATERIALIZED (
        SELECT p.*, set_config('synchronous_commit', 'off', true)
          FROM (SELECT unnest($1::text[]) AS queue, unnest($2::smallint[]) AS priority,
                       unnest($3::uuid[]) AS floor, unnest($7::uuid[]) AS ceiling) AS p
         WHERE EXISTS (SELECT FROM longhaul.worker WHERE worker.id = $5 AND worker.lost_at IS NULL)
           AND CASE WHEN p.priority < 10
                    THEN NOT EXISTS (SELECT FROM longhaul.queue q WHERE q.name = p.queue AND q.gated)
                    ELSE EXISTS (SELECT FROM longhaul.queue q WHERE q.name = p.queue AND q.gated AND q.paused_at IS NULL)
               END",
            $only,
            "
    )"
        )
    };
}

/// The lateral subquery stops as soon as enough rows are found: each probe is one descent of
/// the primary key that starts at its floor.
macro_rules! find {
    ($columns:literal, $limit:literal) => {
        concat!(
            "FROM probe
         CROSS JOIN LATERAL (
               SELECT ",
            $columns,
            "
                 FROM longhaul.ready
                WHERE ready.queue = probe.queue AND ready.priority = probe.priority AND ready.id >= probe.floor AND ready.id < probe.ceiling
                ORDER BY ready.id
                LIMIT ",
            $limit,
            "
                  FOR UPDATE SKIP LOCKED) AS found"
        )
    };
}

/// Deleting by ctid is safe because the rows are locked.
macro_rules! take {
    ($notified:literal) => {
        concat!(
            ", taken AS (
        DELETE FROM longhaul.ready
         WHERE ctid = ANY (ARRAY(SELECT place FROM picked))
        RETURNING queue, priority, id AS place, coalesce(task_id, id) AS id
    ), lease AS (
        INSERT INTO longhaul.lease (worker_id, number, task_ids)
        SELECT $5, $6, array_agg(id) FROM taken HAVING count(*) > 0
    )
    SELECT taken.queue, taken.priority, taken.place, task.id, task.type, task.attempt, task.max_attempts, task.crashes, task.parameters,
           task.checkpoint, task.total_elements, task.processed_elements, task.fraction, task.message,
           task.logged, task.run_at, task.trace_context,
           task.unique_key IS NOT NULL OR task.followed IS TRUE AS special, task.timeout_seconds
      FROM taken
     CROSS JOIN LATERAL (SELECT * FROM longhaul.task WHERE task.id = taken.id OFFSET 0) AS task",
            $notified
        )
    };
}

/// While no type is paused; while one is, it takes nothing.
/// The arrays (instead of joins), `OFFSET 0` (PostgreSQL never merges such a subquery with
/// what is around it) and the settings of the engine's sessions (`longhaul_worker::SESSION`)
/// keep the planner from scanning `ready` or `task` as a whole, whatever its statistics say.
const CLAIM: &str = concat!(
    probe!("\n           AND NOT EXISTS (SELECT FROM longhaul.task_type WHERE paused_at IS NOT NULL)"),
    ", picked AS MATERIALIZED (
        SELECT found.place ",
    find!("ready.ctid AS place", "$4"),
    " LIMIT $4
    )",
    take!("")
);

/// The same beside paused types. What is found of those is held, and leaves its gate; whoever
/// listens looks again, since others may stand behind it.
const CLAIM_BESIDE_PAUSED: &str = concat!(
    probe!(""),
    ", seen AS MATERIALIZED (
        SELECT found.place, found.queue, found.priority, found.id, task.type, longhaul.turn_key(coalesce(task.key, '')) AS key,
               task.type = ANY (ARRAY(SELECT name FROM longhaul.task_type WHERE paused_at IS NOT NULL)) AS paused ",
    find!(
        "ready.ctid AS place, ready.queue, ready.priority, coalesce(ready.task_id, ready.id) AS id",
        "greatest($4, least(4 * $4 + 50, 1000))"
    ),
    "
         CROSS JOIN LATERAL (SELECT * FROM longhaul.task WHERE task.id = found.id OFFSET 0) AS task
         LIMIT greatest($4, least(4 * $4 + 50, 1000))
    ), picked AS MATERIALIZED (
        SELECT place FROM seen WHERE NOT paused LIMIT $4
    ), stopped AS (
        DELETE FROM longhaul.ready WHERE ctid = ANY (ARRAY(SELECT place FROM seen WHERE paused))
    ), held AS (
        INSERT INTO longhaul.held (queue, key, priority, id, type)
        SELECT queue, key, priority % 10, id, type FROM seen WHERE paused
    ), left_gate AS (
        DELETE FROM longhaul.admitted WHERE id = ANY (ARRAY(SELECT id FROM seen WHERE paused)) RETURNING queue
    )",
    take!(
        "
     WHERE (SELECT count(pg_notify('longhaul_ready', queue)::text) FROM seen WHERE paused)
         + (SELECT count(pg_notify('longhaul_gate', queue)::text) FROM left_gate) >= 0"
    )
);

/// Where claims start to look, per queue and priority, so that they need not
/// step over what is long gone.
///
/// Deleted rows stay in the index until vacuum, and while an old snapshot is
/// held they can't even be marked dead. A scan from the left would step over
/// all of them; this one starts where the last one ended. Ids grow with the
/// database's time, so what is missed below the floor was committed late or put
/// back: a look a second further back (50 ms later, or at once if nothing was found)
/// and a sweep from zero (every few seconds, or at once if that found nothing, either) find it, both
/// more rarely if they are slow.
/// They also look where nothing was found yet.
#[derive(Debug)]
pub struct Floors {
    queues: Vec<String>,
    ageing: Option<Ageing>,
    /// By queue and priority as it stands in `ready`: what was found among admitted tasks
    /// tells nothing of others.
    found: HashMap<(String, i16), Uuid>,
    types_are_paused: bool,
    next_sweep: Instant,
    must_sweep: bool,
    /// When the next claim is to be made, whatever happens until then.
    due: Option<Instant>,
    /// When the last window had been looked through, and how long that took, without the
    /// tasks that were found.
    window: (Instant, Duration),
    /// The same of the last sweep.
    swept: (Instant, Duration),
    /// The last look was through a window, and found nothing: what someone was woken for may lie
    /// further back.
    in_vain: bool,
}

/// How far before the floor a late commit is expected, in ms.
const WINDOW_MS: i64 = 1_000;
const WINDOW_EVERY: Duration = Duration::from_millis(50);
/// Windows may take this share of the time at most, and this one if one claim after the
/// other finds nothing: someone was woken for what lies below the floor.
const WINDOW_SHARE: u32 = 20;
const WINDOW_SHARE_IN_VAIN: u32 = 4;
/// What a claimed task costs by itself, about: not the look's fault.
const A_ROW: Duration = Duration::from_micros(20);
const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// A sweep may take this share of the time at most.
const SWEEP_SHARE: u32 = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// From the floor, only where tasks were found before: one probe instead of ten
    /// priorities of each queue, which took half of a drain's time with a hundred queues
    /// (docs/adr/0008-performance-history.md).
    Known,
    Window,
    Sweep,
}

/// A task that has waited for `patience` times its priority counts as most urgent, so that
/// urgent tasks never starve the others.
#[derive(Debug)]
pub struct Ageing {
    /// How long a task of priority 1 waits at most.
    pub patience: Duration,
    /// Tells how old an id is.
    pub clock: Arc<DatabaseClock>,
}

impl Ageing {
    /// The least id that a task of this priority has which may still wait at this moment.
    fn cut(&self, now_ms: i64, priority: i16) -> Uuid {
        let waited = i64::try_from(self.patience.as_millis()).unwrap_or(i64::MAX).saturating_mul(i64::from(priority));
        id_floor(now_ms.saturating_sub(waited))
    }
}

impl Floors {
    /// For these queues; the first claim sweeps.
    #[must_use]
    pub fn new(queues: Vec<String>, ageing: Option<Ageing>) -> Self {
        let now = Instant::now();
        Self {
            queues,
            ageing,
            found: HashMap::new(),
            types_are_paused: false,
            next_sweep: now,
            must_sweep: true,
            due: None,
            window: (now, Duration::ZERO),
            swept: (now, Duration::ZERO),
            in_vain: false,
        }
    }

    /// Says whether a task type is paused. A claim that was told there is none finds nothing
    /// while there is one, so that it takes no task of that type.
    pub fn beside_paused_types(&mut self, paused: bool) {
        self.types_are_paused = paused;
    }

    /// Makes the next claim sweep from zero: something was put back, or the
    /// connection was lost and nobody knows what happened since.
    pub fn forget(&mut self) {
        self.must_sweep = true;
    }

    /// When the next claim is to be made at the latest, though nothing is notified: the
    /// last one did not look everywhere.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Makes the next claim look everywhere, and now: it is due, or nothing was notified for
    /// long.
    pub fn look_around(&mut self) {
        self.due = Some(Instant::now());
    }

    fn look(&self, now: Instant) -> Look {
        let is_due = self.due.is_some_and(|due| now >= due);
        if self.must_sweep || now >= self.next_sweep || (is_due && self.in_vain) {
            Look::Sweep
        } else if self.found.is_empty() || is_due {
            Look::Window
        } else {
            Look::Known
        }
    }

    /// Where to look, in this order: first for what has waited longer than its
    /// priority's patience, if several priorities are in use, then by priority.
    fn probes(&self, look: Look) -> Probes<'_> {
        let mut probes = Probes::default();
        let several =
            self.found.keys().any(|(_, one)| self.found.keys().any(|(_, other)| one % ADMITTED != other % ADMITTED));
        let ageing = self.ageing.as_ref().filter(|_| several).map(|ageing| (ageing, ageing.clock.now_ms()));
        let cut = |queue: &str, priority: i16| {
            let (ageing, now_ms) = ageing.filter(|_| priority % ADMITTED > 0)?;
            self.found.contains_key(&(queue.to_owned(), priority)).then(|| ageing.cut(now_ms, priority % ADMITTED))
        };
        for overdue in [true, false] {
            for priority in (0..ADMITTED).flat_map(|priority| [priority, priority + ADMITTED]) {
                for queue in &self.queues {
                    if look == Look::Known && !self.found.contains_key(&(queue.to_owned(), priority)) {
                        continue;
                    }
                    let cut = cut(queue, priority);
                    if overdue && cut.is_none() {
                        continue;
                    }
                    let floor = self.floor(look, queue, priority);
                    let (floor, ceiling) = match cut {
                        Some(cut) if overdue => (floor, cut),
                        Some(cut) => (cut.max(floor), Uuid::max()),
                        None => (floor, Uuid::max()),
                    };
                    probes.queues.push(queue);
                    probes.priorities.push(priority);
                    probes.floors.push(floor);
                    probes.ceilings.push(ceiling);
                }
            }
        }
        probes
    }

    fn floor(&self, look: Look, queue: &str, priority: i16) -> Uuid {
        match (look, self.found.get(&(queue.to_owned(), priority))) {
            (Look::Sweep, _) | (_, None) => Uuid::nil(),
            (Look::Known, Some(id)) => *id,
            (Look::Window, Some(id)) => id_floor(id_ms(*id) - WINDOW_MS),
        }
    }

    fn learn(&mut self, look: Look, began: Instant, rows: &[ClaimRow], wanted: usize) {
        for run in rows.chunk_by(|one, next| one.priority == next.priority && one.queue == next.queue) {
            let Some(highest) = run.iter().map(|row| row.place).max() else { continue };
            let floor = self.found.entry((run[0].queue.clone(), run[0].priority)).or_insert(highest);
            *floor = (*floor).max(highest);
        }
        let (now, full) = (Instant::now(), rows.len() >= wanted);
        let took = now - began;
        let (window_ended, window_took) = self.window;
        let pause = WINDOW_EVERY.max(window_took * WINDOW_SHARE);
        self.due = match look {
            Look::Known if full => self.due.or(Some(window_ended + pause)),
            Look::Known if rows.is_empty() => Some(window_ended + window_took * WINDOW_SHARE_IN_VAIN),
            Look::Known => self.due.or(Some(now + pause)),
            Look::Window if rows.is_empty() && !self.found.is_empty() => {
                Some(self.swept.0 + self.swept.1 * SWEEP_SHARE)
            }
            Look::Window | Look::Sweep => None,
        };
        self.in_vain = look == Look::Window && self.due.is_some();
        if look != Look::Known {
            self.window = (now, took.saturating_sub(A_ROW * u32::try_from(rows.len()).unwrap_or(u32::MAX)));
        }
        if look == Look::Sweep {
            // One that came back full did not get to the end of what it was for. If that goes
            // on it is a deep backlog, which is in order.
            let every = if full { WINDOW_EVERY } else { SWEEP_EVERY };
            self.next_sweep = now + every.max(took * SWEEP_SHARE);
            self.swept = (now, took);
            self.must_sweep = false;
        }
    }
}

/// Columns of the statement's `probe`.
#[derive(Default)]
struct Probes<'a> {
    queues: Vec<&'a str>,
    priorities: Vec<i16>,
    floors: Vec<Uuid>,
    ceilings: Vec<Uuid>,
}

struct ClaimRow {
    queue: String,
    priority: i16,
    place: Uuid,
    id: Uuid,
    type_name: String,
    attempt: i16,
    max_attempts: i16,
    crashes: i16,
    parameters: StoredJson,
    checkpoint: Option<StoredJson>,
    total_elements: i64,
    processed_elements: i64,
    fraction: f32,
    message: Option<String>,
    logged: Option<i64>,
    run_at: Option<StoredTime>,
    trace_context: Option<String>,
    special: bool,
    timeout_seconds: Option<f64>,
}

/// By place, not by name: looking up all names a row was a tenth of the
/// worker's time in a drain.
impl FromRow<'_, PgRow> for ClaimRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            queue: row.try_get(0)?,
            priority: row.try_get(1)?,
            place: row.try_get(2)?,
            id: row.try_get(3)?,
            type_name: row.try_get(4)?,
            attempt: row.try_get(5)?,
            max_attempts: row.try_get(6)?,
            crashes: row.try_get(7)?,
            parameters: row.try_get(8)?,
            checkpoint: row.try_get(9)?,
            total_elements: row.try_get(10)?,
            processed_elements: row.try_get(11)?,
            fraction: row.try_get(12)?,
            message: row.try_get(13)?,
            logged: row.try_get(14)?,
            run_at: row.try_get(15)?,
            trace_context: row.try_get(16)?,
            special: row.try_get(17)?,
            timeout_seconds: row.try_get(18)?,
        })
    }
}

/// Takes at most `limit` ready tasks, by priority and then age, and puts them
/// under the new lease `lease`. Writes nothing to the task rows: running follows
/// from the lease. When to come again, though nothing is notified, says [`Floors::due`].
///
/// # Errors
/// If the database fails. The claim may have happened all the same: give it back with
/// [`super::rescue::release_lease`].
pub async fn claim(
    executor: impl PgExecutor<'_>,
    floors: &mut Floors,
    lease: LeaseKey,
    limit: usize,
) -> sqlx::Result<Vec<ClaimedTask>> {
    let began = Instant::now();
    let look = floors.look(began);
    let probes = floors.probes(look);
    let statement = if floors.types_are_paused { CLAIM_BESIDE_PAUSED } else { CLAIM };
    let mut rows: Vec<ClaimRow> = sqlx::query_as(statement)
        .bind(&probes.queues)
        .bind(&probes.priorities)
        .bind(&probes.floors)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(lease.worker_id)
        .bind(lease.number)
        .bind(&probes.ceilings)
        .fetch_all(executor)
        .await?;
    rows.sort_unstable_by_key(|row| (row.priority % ADMITTED, row.place));
    floors.learn(look, began, &rows, limit);
    Ok(rows.into_iter().map(|row| row.into_task(lease)).collect())
}

impl ClaimRow {
    fn into_task(self, lease: LeaseKey) -> ClaimedTask {
        let mut unreadable = None;
        let mut read = |what: &str, stored: StoredJson| match stored.0 {
            Ok(value) => value,
            Err(why) => {
                unreadable = Some(format!("The stored {what} can't be read: {why}."));
                Value::Null
            }
        };
        let (parameters, checkpoint) =
            (read("parameters", self.parameters), self.checkpoint.map(|stored| read("checkpoint", stored)));
        let total = self.total_elements.max(0);
        ClaimedTask {
            lease,
            id: self.id,
            type_name: self.type_name,
            queue: self.queue,
            ready_at_ms: id_ms(self.place).max(self.run_at.map_or(0, |run_at| run_at.0.timestamp_millis())),
            attempt: u16::try_from(self.attempt).unwrap_or(0).saturating_add(1),
            max_attempts: u16::try_from(self.max_attempts).unwrap_or(1),
            crashes: u16::try_from(self.crashes).unwrap_or(0),
            parameters,
            checkpoint,
            unreadable,
            progress: Progress {
                total,
                processed: self.processed_elements.clamp(0, total),
                fraction: if self.fraction.is_finite() { f64::from(self.fraction) } else { 0.0 },
                message: self.message,
            },
            // So that the next lines can be counted.
            logged: self.logged.unwrap_or(0).clamp(0, i64::MAX / 2),
            trace: self.trace_context.as_deref().and_then(TraceContext::from_stored),
            special: self.special,
            // What no door takes is as if it were not there.
            timeout: self
                .timeout_seconds
                .filter(|seconds| TIMEOUT_SECONDS.contains(seconds))
                .map(Duration::from_secs_f64),
        }
    }
}
