//! What must hold in every state.

use crate::state::{Ready, Row, State};

/// A promise of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Promise {
    /// Every open task stands in exactly one place (`longhaul.places`).
    OnePlace,
    /// The state in its row fits that place, and a task that is over stands nowhere
    /// (`longhaul.misplaced`).
    RowFits,
    /// Nothing of an attempt is written once the handler of a later one was started.
    Fenced,
    /// A task ends once, unless someone retries it.
    EndsOnce,
    /// A success of a handler is not stored as anything else.
    SuccessStays,
    /// No attempt is spent but by its handler or the death of its worker.
    AttemptsKept,
    /// Once a task was admitted, no more run, or may be claimed, than the limit of the queue allows.
    LimitHolds,
    /// The safety nets find nothing to repair (`longhaul.repaired` stays empty).
    NothingRepaired,
    /// However things stand, every task can come to its end, and nothing is left of it in the
    /// queue's tables, without further faults and without people; also if a frozen worker stays so.
    ComesToRest,
}

impl Promise {
    /// All.
    pub const ALL: &'static [Promise] = &[
        Promise::OnePlace,
        Promise::RowFits,
        Promise::Fenced,
        Promise::EndsOnce,
        Promise::SuccessStays,
        Promise::AttemptsKept,
        Promise::LimitHolds,
        Promise::NothingRepaired,
        Promise::ComesToRest,
    ];

    /// Whether it is kept in this state.
    #[must_use]
    pub fn is_kept(self, state: &State) -> bool {
        match self {
            Promise::OnePlace => {
                (0..state.tasks.len()).all(|id| !state.tasks[id].row.is_open() || places(state, id) == 1)
            }
            Promise::RowFits => (0..state.tasks.len()).all(|id| row_fits(state, id)),
            Promise::AttemptsKept => {
                !state.broke.has(self as usize)
                    && state
                        .tasks
                        .iter()
                        .all(|task| task.attempt <= task.justly_spent || task.ready == Ready::No && !task.scheduled)
            }
            Promise::LimitHolds => !(state.gate.is_closed && state.gate.has_admitted) || in_flight(state) <= 1,
            Promise::Fenced | Promise::EndsOnce | Promise::SuccessStays | Promise::NothingRepaired => {
                !state.broke.has(self as usize)
            }
            // What the explorer finds out.
            Promise::ComesToRest => true,
        }
    }
}

/// In how many places the task is.
fn places(state: &State, id: usize) -> usize {
    let task = &state.tasks[id];
    usize::from(task.ready != Ready::No) + usize::from(task.scheduled) + usize::from(task.blocked) + leases(state, id)
}

fn leases(state: &State, id: usize) -> usize {
    state.leases.iter().flatten().filter(|lease| lease.tasks.has(id)).count()
}

fn row_fits(state: &State, id: usize) -> bool {
    let task = &state.tasks[id];
    let queued = task.ready != Ready::No || task.blocked;
    if !task.row.is_open() {
        return !queued && !task.scheduled;
    }
    (!queued || matches!(task.row, Row::Queued | Row::Retrying))
        && (!task.scheduled || matches!(task.row, Row::Scheduled | Row::Retrying))
        && (leases(state, id) == 0 || matches!(task.row, Row::Queued | Row::Retrying | Row::Running))
}

/// Tasks that run or may be claimed: what a limit limits.
fn in_flight(state: &State) -> usize {
    (0..state.tasks.len())
        .filter(|id| state.tasks[*id].row.is_open())
        .filter(|id| state.tasks[*id].ready == Ready::Admitted || leases(state, *id) > 0)
        .count()
}

/// Every task is over, and nothing is left of them.
#[must_use]
pub(crate) fn is_rest(state: &State) -> bool {
    let rests = |id: usize| {
        let task = &state.tasks[id];
        !task.row.is_open()
            && task.ready == Ready::No
            && !(task.scheduled || task.blocked || task.admitted || task.noted || task.request || task.retry_asked)
            && leases(state, id) == 0
    };
    (0..state.tasks.len()).all(rests)
}
