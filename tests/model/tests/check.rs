//! Every scenario is visited as a whole, and every mistake is found.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Debug;
use std::mem::{Discriminant, discriminant};
use std::path::Path;
use std::time::Instant;

use longhaul_model_check::{
    Action, Broken, Bug, Event, Heard, Model, Promise, SCENARIOS, Scenario, Silence, Slip, State, explore, scenario,
};

/// All states keep all promises, and the documentation tells how many there are.
fn holds<M: Model<State: Debug>>(name: &str, model: &M) {
    let began = Instant::now();
    match explore(model, M::PROMISES) {
        Ok(seen) => {
            println!("{name}: {} states, {} steps, {:.1?}", seen.states, seen.steps, began.elapsed());
            let line =
                include_str!("../../../docs/reliability.md").lines().find(|l| l.starts_with(&format!("| {name} |")));
            let counts = format!("| {} | {} |", in_thousands(seen.states), in_thousands(seen.steps));
            assert!(line.is_some_and(|line| line.ends_with(&counts)), "docs/reliability.md: {name} has {counts}");
        }
        Err(broken) => panic!("{name}: {}\n    {:?}", told(&broken), broken.state),
    }
}

/// As people write it.
fn in_thousands(number: usize) -> String {
    if number < 1_000 { number.to_string() } else { format!("{},{:03}", in_thousands(number / 1_000), number % 1_000) }
}

/// The shortest way to break the promise.
fn breaks<M: Model>(name: &str, model: &M, promise: M::Promise) -> Vec<M::Action> {
    let broken = explore(model, &[promise]).expect_err(name);
    println!("{name}: {}", told(&broken));
    broken.trace
}

fn told<M: Model>(broken: &Broken<M>) -> String {
    let steps: Vec<String> = broken.trace.iter().map(|step| format!("{step:?}")).collect();
    format!("{:?} is broken by\n    {}", broken.promise, steps.join("\n    "))
}

/// A scenario that notes which kinds of actions it had.
struct Noted<'a> {
    scenario: &'a Scenario,
    taken: &'a RefCell<HashSet<Discriminant<Action>>>,
}

impl Model for Noted<'_> {
    type State = State;
    type Action = Action;
    type Promise = Promise;

    const PROMISES: &'static [Promise] = Promise::ALL;
    const COMES_TO_REST: Promise = Promise::ComesToRest;

    fn first(&self) -> Vec<State> {
        self.scenario.first()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.scenario.actions(state, actions);
    }

    fn next(&self, state: &State, action: Action) -> State {
        self.taken.borrow_mut().insert(discriminant(&action));
        self.scenario.next(state, action)
    }

    fn keeps(&self, promise: Promise, state: &State) -> bool {
        self.scenario.keeps(promise, state)
    }

    fn helps(&self, action: Action) -> bool {
        self.scenario.helps(action)
    }

    fn is_rest(&self, state: &State) -> bool {
        self.scenario.is_rest(state)
    }
}

#[test]
fn every_state_keeps_every_promise() {
    let taken = RefCell::new(HashSet::new());
    for scenario in SCENARIOS {
        holds(scenario.name, &Noted { scenario, taken: &taken });
    }
    let kinds = list_of_actions().lines().filter(|line| line.starts_with("    ") && !line.contains("///")).count();
    assert_eq!(taken.borrow().len(), kinds, "each kind of action happens somewhere");
}

/// The text between the braces of `enum Action`.
fn list_of_actions() -> &'static str {
    let (_, list) = include_str!("../src/action.rs").split_once("pub enum Action {").expect("the actions");
    list.split_once("\n}\n").expect("their end").0
}

/// Where each mistake is to be found, and what it breaks.
const MISTAKES: &[(Bug, &str, Promise)] = &[
    (Bug::FlushOverEnd, "flushes beside ends", Promise::OnePlace),
    (Bug::GiveBackOfNothing, "claims without an answer", Promise::NothingRepaired),
    (Bug::UnbegunSpent, "frozen and killed workers", Promise::AttemptsKept),
    (Bug::NoFence, "frozen and killed workers", Promise::Fenced),
    (Bug::StruckAccepted, "ends without an answer", Promise::OnePlace),
    (Bug::DroppedCountsAsEnded, "frozen and killed workers", Promise::OnePlace),
    (Bug::PassingErrorRefuses, "ends without an answer", Promise::SuccessStays),
    (Bug::GateDoesNotWait, "a limit", Promise::LimitHolds),
    (Bug::EndTrustsClaim, "a task that waits for another", Promise::ComesToRest),
    (Bug::WordsByKeyShare, "a worker that stops, and last words", Promise::RowFits),
    (Bug::WordsByKeyShare, "a worker that stops, and last words", Promise::Fenced),
    (Bug::FailureStaysInLease, "cancelled and run again", Promise::OnePlace),
    (Bug::FailureStaysInLease, "cancelled and run again", Promise::NothingRepaired),
];

#[test]
fn every_mistake_is_found() {
    for (bug, name, promise) in MISTAKES {
        let scenario = scenario(name).expect("its name");
        breaks(&format!("{bug:?} in {name}"), &scenario.with(*bug), *promise);
    }
}

/// The server is away once, and beats hang; or twice, and they fail at once.
const OUTAGE: Silence = Silence { outages: 1, longest: 12, heartbeat_ms: 5_000, beats_hang: true, slip: None };
const SHORT_HEARTBEATS: Silence = Silence { heartbeat_ms: 3_000, ..OUTAGE };
const OUTAGES: Silence = Silence { outages: 2, longest: 8, beats_hang: false, ..OUTAGE };

#[test]
fn nobody_who_lives_is_presumed_dead() {
    holds("an outage", &OUTAGE);
    holds("an outage, short heartbeats", &SHORT_HEARTBEATS);
    holds("two outages", &OUTAGES);
}

#[test]
fn an_outage_that_counts_as_the_death_of_all_is_found() {
    let slip = Some(Slip::OutageIsDeath);
    let trace = breaks("an outage counts as silence", &Silence { slip, ..OUTAGE }, Heard::TheLivingStay);
    assert!(!trace.contains(&Event::Death), "nobody died");
}

#[test]
fn a_retried_beat_that_hangs_for_too_long_is_found() {
    let slip = Some(Slip::LimitStays);
    for outage in [OUTAGE, SHORT_HEARTBEATS] {
        breaks("a retried beat hangs", &Silence { slip, ..outage }, Heard::TheLivingStay);
    }
}

/// Each action names files that are there, and what is in them.
#[test]
fn every_action_names_its_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut codes = 0;
    let mut named = false;
    for line in list_of_actions().lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(code) = line.strip_prefix("/// Code: ") {
            named = true;
            for place in code.trim_end_matches('.').split("; ") {
                let parts: Vec<&str> = place.split('`').collect();
                let [_, file, _, item, _] = parts[..] else { panic!("{place} is no file and item") };
                let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
                let is_there = ["fn ", "const ", "pub struct ", "FUNCTION longhaul."]
                    .iter()
                    .any(|kind| text.contains(&format!("{kind}{item}")));
                assert!(is_there, "{file} has no {item}");
                codes += 1;
            }
        } else if !line.starts_with("///") {
            assert!(std::mem::take(&mut named), "{line} names no code");
        }
    }
    assert!(codes > 40, "only {codes} places were found");
}
