//! Visits every state that a model can reach, in the order of the number of steps.
//!
//! It is no more than breadth-first search, and one thing that checkers such as stateright do not
//! offer: it keeps all steps, so that it can also tell from which states a good end can't be
//! reached any more. ("Eventually" as stateright has it ignores paths that end in a cycle.)

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

/// What can be checked.
pub trait Model {
    /// All that is known at one moment.
    type State: Clone + Eq + Hash;
    /// A step.
    type Action: Copy + Debug;
    /// What must hold in each state.
    type Promise: Copy + Eq + Debug + 'static;

    /// Every promise that is kept or broken by a state alone.
    const PROMISES: &'static [Self::Promise];
    /// The promise that [`Model::is_rest`] can be reached from each state by steps that help.
    const COMES_TO_REST: Self::Promise;

    /// Where it begins.
    fn first(&self) -> Vec<Self::State>;
    /// The steps that can be taken.
    fn actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>);
    /// What one of those leads to.
    fn next(&self, state: &Self::State, action: Self::Action) -> Self::State;
    /// Whether the promise is kept in this state.
    fn keeps(&self, promise: Self::Promise, state: &Self::State) -> bool;
    /// Whether the step is one that comes by itself, without a fault or a person.
    fn helps(&self, action: Self::Action) -> bool;
    /// All is done.
    fn is_rest(&self, state: &Self::State) -> bool;
}

/// How much there was to see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// States that differ.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
}

/// A shortest way to a state that breaks a promise.
#[derive(Debug, Clone)]
pub struct Broken<M: Model> {
    /// Which.
    pub promise: M::Promise,
    /// The steps to it.
    pub trace: Vec<M::Action>,
    /// The state at their end.
    pub state: M::State,
}

/// A step to another state, by its place.
#[derive(Clone, Copy)]
struct Step {
    to: u32,
    helps: bool,
}

struct Explorer<'a, M: Model> {
    model: &'a M,
    places: HashMap<M::State, u32>,
    states: Vec<M::State>,
    /// By which step, from which state, each was reached first.
    came: Vec<Option<(u32, M::Action)>>,
    steps: Vec<Vec<Step>>,
}

/// Visits all states, and returns how many there are; or the shortest way to break one of these
/// promises.
///
/// # Errors
/// The promise that is broken, and how.
pub fn explore<M: Model>(model: &M, promises: &[M::Promise]) -> Result<Seen, Box<Broken<M>>> {
    let mut explorer =
        Explorer { model, places: HashMap::new(), states: Vec::new(), came: Vec::new(), steps: Vec::new() };
    for state in model.first() {
        explorer.visit(state, None);
    }
    let (mut at, mut actions) = (0, Vec::new());
    while at < explorer.states.len() {
        let state = explorer.states[at].clone();
        if let Some(promise) = promises.iter().find(|promise| !model.keeps(**promise, &state)) {
            return Err(explorer.broken(*promise, at));
        }
        model.actions(&state, &mut actions);
        let mut steps = Vec::with_capacity(actions.len());
        for action in actions.drain(..) {
            let to = explorer.visit(model.next(&state, action), Some((place(at), action)));
            steps.push(Step { to, helps: model.helps(action) });
        }
        explorer.steps.push(steps);
        at += 1;
    }
    if promises.contains(&M::COMES_TO_REST)
        && let Some(stuck) = explorer.first_stuck()
    {
        return Err(explorer.broken(M::COMES_TO_REST, stuck));
    }
    Ok(Seen { states: explorer.states.len(), steps: explorer.steps.iter().map(Vec::len).sum() })
}

impl<M: Model> Explorer<'_, M> {
    fn visit(&mut self, state: M::State, came: Option<(u32, M::Action)>) -> u32 {
        if let Some(known) = self.places.get(&state) {
            return *known;
        }
        let new = place(self.states.len());
        self.places.insert(state.clone(), new);
        self.states.push(state);
        self.came.push(came);
        new
    }

    /// The first state from which no steps that help lead to rest.
    fn first_stuck(&self) -> Option<usize> {
        let mut before: Vec<Vec<u32>> = vec![Vec::new(); self.states.len()];
        for (from, steps) in self.steps.iter().enumerate() {
            for step in steps.iter().filter(|step| step.helps) {
                before[step.to as usize].push(place(from));
            }
        }
        let mut reaches: Vec<bool> = self.states.iter().map(|state| self.model.is_rest(state)).collect();
        let mut look: Vec<u32> = (0..).zip(&reaches).filter(|(_, rests)| **rests).map(|(at, _)| at).collect();
        while let Some(at) = look.pop() {
            for from in &before[at as usize] {
                if !std::mem::replace(&mut reaches[*from as usize], true) {
                    look.push(*from);
                }
            }
        }
        reaches.iter().position(|reaches| !reaches)
    }

    fn broken(&self, promise: M::Promise, at: usize) -> Box<Broken<M>> {
        let (mut trace, mut from) = (Vec::new(), at);
        while let Some((before, action)) = self.came[from] {
            trace.push(action);
            from = before as usize;
        }
        trace.reverse();
        Box::new(Broken { promise, trace, state: self.states[at].clone() })
    }
}

/// More states than this do not fit into memory.
fn place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
