//! The fleets that are checked. Each is small enough to be visited as a whole, and has those things
//! together that could get into each other's way.

use crate::memory::Outcome;
use crate::scenario::{Faults, Scenario};
use crate::state::Left;

const NO_FAULTS: Faults = Faults { claims: false, ends: false, flushes: false, freezes: false, kills: false };
const NOTHING: Left = Left { faults: 0, snoozes: 0, cancels: 0, retries: 0 };
const PLAIN: Scenario = Scenario {
    name: "",
    tasks: 2,
    slots: 2,
    attempts: 2,
    outcomes: &[],
    left: NOTHING,
    faults: NO_FAULTS,
    flushes: false,
    words: false,
    stops: false,
    gate: false,
    follows: false,
    bug: None,
};

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "claims without an answer",
        attempts: 1,
        left: Left { faults: 2, ..NOTHING },
        faults: Faults { claims: true, kills: true, ..NO_FAULTS },
        ..PLAIN
    },
    Scenario {
        name: "flushes beside ends",
        flushes: true,
        outcomes: &[Outcome::Retry, Outcome::Snooze],
        left: Left { faults: 1, snoozes: 1, ..NOTHING },
        faults: Faults { flushes: true, ..NO_FAULTS },
        ..PLAIN
    },
    Scenario {
        name: "ends without an answer",
        outcomes: &[Outcome::Retry, Outcome::Snooze],
        left: Left { faults: 1, snoozes: 1, ..NOTHING },
        faults: Faults { ends: true, ..NO_FAULTS },
        ..PLAIN
    },
    Scenario {
        name: "frozen and killed workers",
        flushes: true,
        left: Left { faults: 1, ..NOTHING },
        faults: Faults { freezes: true, kills: true, ..NO_FAULTS },
        ..PLAIN
    },
    Scenario {
        name: "a worker that stops, and last words",
        attempts: 1,
        left: Left { faults: 1, ..NOTHING },
        faults: Faults { ends: true, flushes: true, ..NO_FAULTS },
        flushes: true,
        words: true,
        stops: true,
        ..PLAIN
    },
    Scenario {
        name: "cancelled and run again",
        attempts: 1,
        outcomes: &[Outcome::Failed],
        left: Left { faults: 1, cancels: 1, retries: 1, ..NOTHING },
        faults: Faults { ends: true, kills: true, ..NO_FAULTS },
        ..PLAIN
    },
    Scenario {
        name: "a limit",
        tasks: 3,
        slots: 1,
        attempts: 1,
        left: Left { faults: 1, ..NOTHING },
        faults: Faults { claims: true, kills: true, ..NO_FAULTS },
        gate: true,
        ..PLAIN
    },
    Scenario {
        name: "a task that waits for another",
        tasks: 1,
        outcomes: &[Outcome::Retry, Outcome::Failed],
        left: Left { faults: 1, cancels: 1, ..NOTHING },
        faults: Faults { ends: true, kills: true, ..NO_FAULTS },
        follows: true,
        ..PLAIN
    },
];

/// The scenario of this name.
#[must_use]
pub fn scenario(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
