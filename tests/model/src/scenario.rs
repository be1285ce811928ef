//! What is checked: small fleets, each with some of what can happen; and mistakes on purpose.

use crate::explorer::Model;
use crate::memory::{Hand, Life, Outcome, Worker};
use crate::promise::{Promise, is_rest};
use crate::state::{Gate, LATE, LEASES, Left, Ready, Row, Set, State, TASKS, Task, WORKERS};
use crate::{action, possible, step};

/// A mistake, most of them made once, that the check has to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A flush reads the lease as its snapshot has it, and writes over all that is not over; and
    /// the promoter removes rows of tasks that it does not queue.
    FlushOverEnd,
    /// A worker settles a claim without an answer although it finds no lease of it, and forbids none.
    GiveBackOfNothing,
    /// A rescue spends an attempt that had not begun.
    UnbegunSpent,
    /// An end is stored though its lease is gone.
    NoFence,
    /// An end is stored while its lease is there, though the task was struck from it.
    StruckAccepted,
    /// A lane counts an attempt that it gave up as ended, so that its lease counts as empty.
    DroppedCountsAsEnded,
    /// An error of the database that passes counts as a refusal of the end: the task fails.
    PassingErrorRefuses,
    /// The gatekeeper does not wait for claims that began before the gate was closed.
    GateDoesNotWait,
    /// What follows from an end is what the claim knew of it.
    EndTrustsClaim,
    /// Last words hold their lease `FOR KEY SHARE`, and read what their snapshot has of it.
    WordsByKeyShare,
    /// A task that failed or was cancelled stays in its lease, from which a retry strikes it that
    /// looks before it has locked the task.
    FailureStaysInLease,
}

/// A small fleet, and what can happen to it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// For people.
    pub name: &'static str,
    /// How many tasks there are at first.
    pub tasks: usize,
    /// How many tasks each worker runs at once.
    pub slots: usize,
    /// How many attempts each task has.
    pub attempts: u8,
    /// How handlers may end besides succeeding.
    pub outcomes: &'static [Outcome],
    /// Faults, snoozes, requests to cancel and retries by hand that may come.
    pub left: Left,
    /// Which faults.
    pub faults: Faults,
    /// Workers flush progress.
    pub flushes: bool,
    /// Attempts have last words, unless they succeed.
    pub words: bool,
    /// The first worker may be told to stop.
    pub stops: bool,
    /// The queue may get a limit of one task at once.
    pub gate: bool,
    /// A second task may be stored that waits for the first one.
    pub follows: bool,
    /// What is done wrong.
    pub bug: Option<Bug>,
}

/// Which faults there are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Claims that are not answered.
    pub claims: bool,
    /// Ends and last words that are not answered.
    pub ends: bool,
    /// Flushes that are not answered.
    pub flushes: bool,
    /// Processes that are frozen.
    pub freezes: bool,
    /// Processes that are killed.
    pub kills: bool,
}

impl Scenario {
    /// The same, done wrong.
    #[must_use]
    pub fn with(&self, bug: Bug) -> Self {
        Self { bug: Some(bug), ..self.clone() }
    }

    fn task(&self, index: usize) -> Task {
        let is_there = index < self.tasks;
        Task {
            row: if is_there { Row::Queued } else { Row::Absent },
            attempt: 0,
            max_attempts: self.attempts,
            followed: false,
            request: false,
            ready: if is_there { Ready::Stored } else { Ready::No },
            scheduled: false,
            blocked: false,
            admitted: false,
            noted: false,
            retry_asked: false,
            justly_spent: 0,
            started_under: None,
        }
    }
}

impl Model for Scenario {
    type State = State;
    type Action = action::Action;
    type Promise = Promise;

    const PROMISES: &'static [Promise] = Promise::ALL;
    const COMES_TO_REST: Promise = Promise::ComesToRest;

    fn first(&self) -> Vec<State> {
        let worker = Worker {
            life: Life::Up,
            stops: false,
            lost: false,
            stopped: false,
            renamed: false,
            hands: [Hand::Empty; TASKS],
            held: [None; LEASES],
            unanswered: None,
            looked: None,
        };
        vec![State {
            tasks: std::array::from_fn(|index| self.task(index)),
            leases: [None; LEASES],
            workers: [worker; WORKERS],
            late: [None; LATE],
            gate: Gate { is_closed: false, claims_before: None, counting: None, counted: false, has_admitted: false },
            left: self.left,
            broke: Set::EMPTY,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<action::Action>) {
        possible::possible(self, state, actions);
    }

    fn next(&self, state: &State, action: action::Action) -> State {
        step::next(self, state, action)
    }

    fn keeps(&self, promise: Promise, state: &State) -> bool {
        promise.is_kept(state)
    }

    fn helps(&self, action: action::Action) -> bool {
        action.helps()
    }

    fn is_rest(&self, state: &State) -> bool {
        is_rest(state)
    }
}
