//! Every statement on the queue's tables, one file a verb.
//!
//! Rules that all of them keep (docs/architecture.md explains each):
//!
//! * Whoever writes a task at work locks its lease row first, in the same statement or
//!   transaction; the rescuer deletes that row. So a worker that lost its lease changes
//!   nothing. The task's row must also still be that of the attempt that writes (`at_work!`).
//! * Locks are taken in the order lease, then task.
//! * The claim and the flush of progress commit asynchronously: a lost claim
//!   leaves the task in `ready`, and a finish that builds on a claim flushes it.
//!   Enqueue and finish commit durably.

/// Leases of worker $1 by their numbers. Where the planner takes `lease` for empty, as it is
/// most of the time, it does not use the index for `number = ANY (…)`: it reads all leases of
/// the worker and picks, dead ones too, which under an old snapshot are all that it ever had
/// (docs/adr/0008-performance-history.md). The bounds it does use, and numbers grow with time.
macro_rules! leases {
    ($numbers:literal) => {
        concat!(
            "worker_id = $1 AND number = ANY (",
            $numbers,
            "::bigint[])
           AND number >= (SELECT min(n) FROM unnest(",
            $numbers,
            "::bigint[]) AS n) AND number <= (SELECT max(n) FROM unnest(",
            $numbers,
            "::bigint[]) AS n)"
        )
    };
}

/// A join by the key of a table that is written to: one look into its index for each row of
/// the other side. Said with `=`, a plan that was made while the table held next to nothing
/// may read all of it instead, once or even for each row, and is kept until the next ANALYZE
/// (docs/adr/0008-performance-history.md, "Joins that can't go wrong").
macro_rules! by_key {
    ($key:literal, $of:literal) => {
        concat!($key, " = ANY (ARRAY[", $of, "])")
    };
}

/// Whether the row `t` of `task` is still that of the attempt with this number, which some
/// lease holds: the attempt has been stored as running, or its row is as the claim left it.
/// A retry, a snooze and an end leave another state or attempt behind. Everything that
/// writes a task at work asks this, and locks the lease first. An attempt beyond 32,767, the
/// last that a row can tell, is told by its lease alone.
macro_rules! at_work {
    ($attempt:literal) => {
        concat!(
            "(t.state = 'Running' AND t.attempt = ",
            $attempt,
            " OR t.state IN ('Queued', 'Retrying') AND (t.attempt < ",
            $attempt,
            " OR ",
            $attempt,
            " = 32767))"
        )
    };
}

pub mod api_key;
pub mod aside;
pub mod audit;
pub mod bulk;
pub mod cancel;
pub mod claim;
pub mod count;
pub mod cron;
pub mod current;
pub mod deadline;
pub mod depth;
pub mod detail;
pub mod diagnose;
pub mod enqueue;
pub mod failure;
mod filter;
pub mod find;
pub mod findings;
pub mod finish;
pub mod follow;
pub mod gate;
pub mod give_back;
pub mod held_locks;
pub mod idle;
pub mod keyed;
pub mod leader;
pub mod linked;
pub mod list;
pub mod log;
pub mod migrate;
mod migration_session;
pub mod overview;
pub mod progress;
pub mod queue;
pub mod read;
pub mod repair;
pub mod rescue;
pub mod rescue_apart;
pub mod retention;
pub mod roles;
pub mod schedule;
pub mod session;
mod sticky_connection;
mod stored;
pub mod successes;
pub mod task_type;
pub mod testing;
pub mod trouble;
pub mod unsuccessful;
pub mod wakeup;
pub mod watch;
pub mod why;
pub mod worker;

use uuid::Uuid;

pub use deadline::{DEADLINE, SERVICE_DEADLINE, within};
pub use failure::{Failure, is_passing, is_refusal, waited_for_lock};
pub use sticky_connection::StickyConnection;
pub use stored::{ShownJson, StoredTexts, StoredTextsOption, StoredTime, StoredTimeOption};

use crate::{Progress, TraceContext};

/// Names a lease: the worker and its own running number of the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseKey {
    /// The worker's row.
    pub worker_id: i32,
    /// Chosen by the worker before it claims, so that a claim whose answer was
    /// lost on the way can be given back by name.
    pub number: i64,
}

/// A task that a worker has claimed and not yet begun.
#[derive(Debug, Clone)]
pub struct ClaimedTask {
    /// The lease it is held under.
    pub lease: LeaseKey,
    /// Its guid.
    pub id: Uuid,
    /// Its type's name.
    pub type_name: String,
    /// The queue it came from.
    pub queue: String,
    /// Since when it could run, by the database's clock, in milliseconds since 1970.
    pub ready_at_ms: i64,
    /// The number of the attempt that is about to begin; 1 is the first.
    pub attempt: u16,
    /// How many attempts it has in all.
    pub max_attempts: u16,
    /// How often its worker died; its start is stored before it runs if ever.
    pub crashes: u16,
    /// The parameters.
    pub parameters: serde_json::Value,
    /// What an earlier attempt saved.
    pub checkpoint: Option<serde_json::Value>,
    /// Why it can't be run: its row holds what this program can't read. Its parameters or
    /// its checkpoint are missing then.
    pub unreadable: Option<String>,
    /// How far it was when it was claimed.
    pub progress: Progress,
    /// Number of lines written to its log.
    pub logged: i64,
    /// The trace of whoever started it.
    pub trace: Option<TraceContext>,
    /// Something follows from its success: it has a unique key, or others wait for it.
    /// Others may also begin to wait after the claim.
    pub special: bool,
    /// The longest that the attempt may take, if it is not what the type says.
    pub timeout: Option<std::time::Duration>,
}

fn whole_micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn small(number: u16) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}

/// An array parameter of a statement that reads it with `unnest` beside others:
/// one that has nothing for any row is not sent, and is NULL for each all the same.
fn unless_missing<T>(column: Vec<Option<T>>) -> Option<Vec<Option<T>>> {
    column.iter().any(Option::is_some).then_some(column)
}
