//! All that is known at one moment: the queue's tables, what workers have in memory, and statements
//! that were given up and may still run.

use crate::memory::{Late, Worker};

/// Tasks at most; a scenario may have fewer.
pub(crate) const TASKS: usize = 3;
/// Workers.
pub(crate) const WORKERS: usize = 2;
/// Leases at once. The number of a lease is given out again when nothing knows it any more, so
/// that there are few states; that changes nothing, since numbers are only compared.
pub(crate) const LEASES: usize = 6;
/// Statements at once that were given up and may still run in the server.
pub(crate) const LATE: usize = 2;

/// A task, by its index.
pub(crate) type Id = usize;
/// A lease, by its index.
pub(crate) type Number = usize;

/// A set of small numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Set(u8);

impl Set {
    /// Nothing.
    pub const EMPTY: Self = Self(0);

    /// Whether `one` is in it.
    #[must_use]
    pub fn has(self, one: usize) -> bool {
        self.0 & (1 << one) != 0
    }

    /// With `one`.
    #[must_use]
    pub fn with(self, one: usize) -> Self {
        Self(self.0 | 1 << one)
    }

    /// Without `one`.
    #[must_use]
    pub fn without(self, one: usize) -> Self {
        Self(self.0 & !(1 << one))
    }

    /// What is in it and not in `other`.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What is in it, from the least on.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..8).filter(move |one| self.has(*one))
    }

    /// How many.
    #[must_use]
    pub fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Nothing is in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<usize> for Set {
    fn from_iter<T: IntoIterator<Item = usize>>(iter: T) -> Self {
        iter.into_iter().fold(Self::EMPTY, Self::with)
    }
}

/// The state in a task's row (`crates/model/src/state.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Row {
    /// Not stored yet.
    Absent,
    /// Waits for its time.
    Scheduled,
    /// Waits for a worker, or for other tasks.
    Queued,
    /// A flush or a handler's transaction wrote that it runs.
    Running,
    /// An attempt failed.
    Retrying,
    /// It is over, and well.
    Succeeded,
    /// It is over.
    Failed,
    /// It is over, as someone asked.
    Cancelled,
}

impl Row {
    /// The task is over.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Row::Succeeded | Row::Failed | Row::Cancelled)
    }

    /// The task is there and not over.
    #[must_use]
    pub fn is_open(self) -> bool {
        !self.is_end() && self != Row::Absent
    }
}

/// How a task stands in `longhaul.ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ready {
    /// It does not.
    No,
    /// As it was stored.
    Stored,
    /// Admitted to a queue with a limit: with its priority + 10.
    Admitted,
}

/// A task, and where the tables have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Task {
    /// `task.state`.
    pub row: Row,
    /// `task.attempt`.
    pub attempt: u8,
    /// `task.max_attempts`.
    pub max_attempts: u8,
    /// `task.followed`: something follows from its end.
    pub followed: bool,
    /// In `cancel_request`.
    pub request: bool,
    /// In `ready`.
    pub ready: Ready,
    /// In `scheduled`.
    pub scheduled: bool,
    /// In `blocked`: waits for another task.
    pub blocked: bool,
    /// In `admitted`.
    pub admitted: bool,
    /// In `ended`: the follower has to act upon its end.
    pub noted: bool,
    /// The first statement of a call of `longhaul.retry` is done, and found the task open.
    pub retry_asked: bool,
    /// For the promises: attempts that were spent by handlers or deaths of workers.
    pub justly_spent: u8,
    /// For the promises: the lease under which a handler was last started.
    pub started_under: Option<Number>,
}

/// A row of `lease`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Whose.
    pub worker: usize,
    /// The worker has another number by now, since it was presumed dead.
    pub is_former: bool,
    /// `lease.task_ids`.
    pub tasks: Set,
    /// `lease.shortened`.
    pub shortened: bool,
    /// For the promises: tasks whose handler was started under it.
    pub begun: Set,
}

/// The gate of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gate {
    /// At most one task may run (`queue.gated`).
    pub is_closed: bool,
    /// Workers whose claims may have begun before the gate was closed; `None`: nobody has looked.
    pub claims_before: Option<Set>,
    /// A count of tasks at work is under way, and has found these.
    pub counting: Option<Set>,
    /// `gate.counted_at` is set.
    pub counted: bool,
    /// For the promises: something was admitted.
    pub has_admitted: bool,
}

/// How much may still go wrong, and how often handlers and people may ask for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Left {
    /// Faults.
    pub faults: u8,
    /// Snoozes.
    pub snoozes: u8,
    /// Requests to cancel.
    pub cancels: u8,
    /// Retries by hand.
    pub retries: u8,
}

/// All of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// Tasks.
    pub tasks: [Task; TASKS],
    /// Leases.
    pub leases: [Option<Lease>; LEASES],
    /// Workers.
    pub workers: [Worker; WORKERS],
    /// Statements that may still run.
    pub late: [Option<Late>; LATE],
    /// The queue's gate.
    pub gate: Gate,
    /// What may still come.
    pub left: Left,
    /// Promises that a step has broken, by their place in the list.
    pub broke: Set,
}
