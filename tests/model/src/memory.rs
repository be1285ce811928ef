//! What workers have in memory, and what they have sent.

use crate::state::{LEASES, Number, Row, Set, TASKS};

/// How an attempt ended (`AttemptOutcome`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The handler did what it had to.
    Succeeded,
    /// It failed, and is tried again.
    Retry,
    /// It failed for good.
    Failed,
    /// It wants to be run again later; the attempt does not count.
    Snooze,
    /// It stopped, since someone asked.
    Cancelled,
    /// Its worker stops; the attempt does not count.
    Release,
}

impl Outcome {
    /// The state that is stored.
    #[must_use]
    pub fn row(self) -> Row {
        match self {
            Outcome::Succeeded => Row::Succeeded,
            Outcome::Retry => Row::Retrying,
            Outcome::Failed => Row::Failed,
            Outcome::Snooze => Row::Scheduled,
            Outcome::Cancelled => Row::Cancelled,
            Outcome::Release => Row::Queued,
        }
    }

    /// Whether the attempt counts.
    #[must_use]
    pub fn counts(self) -> bool {
        !matches!(self, Outcome::Snooze | Outcome::Release)
    }
}

/// An ended attempt on its way to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct End {
    /// Under which lease it ran.
    pub lease: Number,
    /// Its number.
    pub attempt: u8,
    /// What becomes of the task.
    pub outcome: Outcome,
    /// It has last words that are not stored yet.
    pub words: bool,
    /// What the claim knew of `task.followed`.
    pub special: bool,
    /// For the promises: its handler was started.
    pub began: bool,
    /// For the promises: its handler succeeded.
    pub won: bool,
}

/// What a worker has of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hand {
    /// Nothing.
    Empty,
    /// Claimed, and not begun.
    Waiting {
        /// Under which lease.
        lease: Number,
        /// The attempt that is to begin.
        attempt: u8,
        /// What the claim knew of `task.followed`.
        special: bool,
    },
    /// Its handler runs.
    Running {
        /// Under which lease.
        lease: Number,
        /// The attempt.
        attempt: u8,
        /// As above.
        special: bool,
        /// It was told that someone wants to cancel the task.
        told: bool,
        /// It was told that the lease is lost: what it says is dropped.
        lost: bool,
    },
    /// Its handler is over; the database has to be told.
    Ended(End),
}

/// What a worker has written down of a lease (`Lease` in `crates/worker/src/leases.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Held {
    /// Its claim was answered.
    pub answered: bool,
    /// Tasks that have not been stored as ended.
    pub tasks: Set,
    /// A task of it was given up without an end that the database has.
    pub unsettled: bool,
}

/// Progress on its way: by task, the lease and the attempt.
pub(crate) type Writes = [Option<(Number, u8)>; TASKS];

/// A statement that writes progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Writing {
    /// What it writes.
    pub writes: Writes,
    /// It has read the lease, and holds it `FOR KEY SHARE`; the rows of tasks come next.
    pub fenced: bool,
}

/// The process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Life {
    /// It works.
    Up,
    /// It does nothing for now, and does not know.
    Frozen,
    /// It is no more.
    Gone,
}

/// A worker: its process, and its row in `worker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Worker {
    /// The process.
    pub life: Life,
    /// It was told to stop.
    pub stops: bool,
    /// `worker.lost_at` is set: it was presumed dead.
    pub lost: bool,
    /// `worker.stopped_at` is set.
    pub stopped: bool,
    /// Its keeper has registered it anew, and its lane has not noticed.
    pub renamed: bool,
    /// By task.
    pub hands: [Hand; TASKS],
    /// By lease.
    pub held: [Option<Held>; LEASES],
    /// A claim of this lease was not answered.
    pub unanswered: Option<Number>,
    /// A claim has begun, and saw whether the queue is gated.
    pub looked: Option<bool>,
}

/// The end of a batch of attempts, as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Finish {
    /// By task.
    pub ends: [Option<End>; TASKS],
    /// Leases to drop.
    pub emptied: Set,
    /// Leases that go on, without the tasks that end.
    pub shortened: Set,
}

/// A statement that its worker gave up and that may still run in the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Late {
    /// A claim of this worker, under this lease.
    Claim {
        /// Who sent it.
        worker: usize,
        /// Under which lease.
        lease: Number,
        /// The worker has another number by now.
        is_former: bool,
    },
    /// Ends.
    Finish(Finish),
    /// A flush of progress.
    Flush(Writing),
    /// Last words.
    Words(Writing),
}
