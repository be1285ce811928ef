//! The life of a task.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Serialize;

/// Where a task is in its life. The names are the wire's (contract: `State`)
/// and the labels of the database's enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub enum State {
    /// Waits until its time (`run_at`).
    Scheduled,
    /// Waits for a worker.
    Queued,
    /// A worker runs it.
    Running,
    /// An attempt failed; waits for its next one.
    Retrying,
    /// It succeeded.
    Succeeded,
    /// It failed, and no attempt is left or useful.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl State {
    /// Every state, in the order of a life.
    pub const ALL: [State; 7] = [
        State::Scheduled,
        State::Queued,
        State::Running,
        State::Retrying,
        State::Succeeded,
        State::Failed,
        State::Cancelled,
    ];

    /// The word on the wire and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            State::Scheduled => "Scheduled",
            State::Queued => "Queued",
            State::Running => "Running",
            State::Retrying => "Retrying",
            State::Succeeded => "Succeeded",
            State::Failed => "Failed",
            State::Cancelled => "Cancelled",
        }
    }

    /// Whether the task has completed: `Complete` on the wire.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, State::Succeeded | State::Failed | State::Cancelled)
    }

    /// The states that may follow this one. `docs/state-machine.md` shows the
    /// same table; a test compares them.
    #[must_use]
    pub const fn next(self) -> &'static [State] {
        use State::{Cancelled, Failed, Queued, Retrying, Running, Scheduled, Succeeded};
        match self {
            // Due; or called off.
            Scheduled => &[Queued, Cancelled],
            // Claimed; or called off before it began; or what it waited for failed
            // (Failed), or ended before its time had come (Scheduled).
            Queued => &[Running, Cancelled, Failed, Scheduled],
            // The four ends of an attempt, a snooze (Scheduled), and a worker
            // that died or gave the task back (Queued, or Failed at the limit).
            Running => &[Succeeded, Failed, Cancelled, Retrying, Scheduled, Queued],
            // Claimed again; or called off while it waits.
            Retrying => &[Running, Cancelled],
            // Only a person restarts what ended without success; a batch runs as soon
            // as its tasks are queued.
            Failed | Cancelled => &[Queued, Running],
            Succeeded => &[],
        }
    }

    /// Whether `next` may follow this state.
    #[must_use]
    pub fn may_become(self, next: State) -> bool {
        self.next().contains(&next)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not one of the seven states.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a state; the states are Scheduled, Queued, Running, Retrying, Succeeded, Failed, Cancelled")]
pub struct UnknownState(String);

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        State::ALL.into_iter().find(|state| state.name() == name).ok_or_else(|| UnknownState(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn success_is_final_and_other_ends_leave_only_by_hand() {
        for end in State::ALL.into_iter().filter(|state| state.is_end()) {
            for next in end.next() {
                assert!([State::Queued, State::Running].contains(next), "{end} may only be queued again");
                assert_ne!(end, State::Succeeded);
            }
        }
    }

    #[test]
    fn every_open_state_can_be_cancelled() {
        for state in State::ALL.into_iter().filter(|state| !state.is_end()) {
            assert!(state.may_become(State::Cancelled), "{state}");
        }
    }

    #[test]
    fn names_and_states_are_the_same_thing() {
        for state in State::ALL {
            assert_eq!(state.name().parse::<State>().expect("own name"), state);
        }
        assert!("running".parse::<State>().is_err());
    }
}
