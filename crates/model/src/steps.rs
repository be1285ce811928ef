//! Steps within steps: where an attempt is, and how far that makes the task.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Plan;
use crate::limits::ELEMENTS_AT_MOST;
use crate::progress::{cut, even_fraction};

/// Steps nest this deep at most; deeper ones are passed over.
pub const DEEPEST_STEP: usize = 16;

/// What a step's own steps add up to, unless it is said otherwise: their weights
/// are per cents.
const PER_CENT: u32 = 100;

/// One step at work, as it is stored with the task and shown as `Steps`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct StepState {
    /// What it does, in words.
    pub name: String,
    /// Its share of what it is a step of: that many of `of`.
    pub weight: u32,
    /// What the weights beside it add up to.
    pub of: u32,
    /// How far it is, 0 to 1, with two decimals.
    pub fraction: f64,
    /// How many elements of its own it has; 0 while unknown.
    pub total_elements: i64,
    /// How many of them are done.
    pub processed_elements: i64,
}

/// Names a step in a handle. 0 is the task itself.
pub(crate) type StepKey = u64;

/// The task itself.
pub(crate) const ROOT: StepKey = 0;
/// A step that is over, or never began.
pub(crate) const OVER: StepKey = u64::MAX;

/// The steps at work. They are a path, since a step is over once the next one
/// beside it begins: of those that are over, only the sum of their weights is
/// kept. So a million steps need no more memory than one.
#[derive(Debug)]
pub(crate) struct Steps {
    task: Division,
    path: Vec<Level>,
    last_key: StepKey,
}

#[derive(Debug)]
struct Level {
    key: StepKey,
    name: String,
    weight: u32,
    total: i64,
    processed: i64,
    division: Division,
}

/// How something is divided into steps.
#[derive(Debug)]
struct Division {
    /// What the weights add up to.
    whole: u32,
    /// The sum of those that are over.
    over: u32,
    /// It has had steps: its fraction follows them.
    used: bool,
}

impl Default for Division {
    fn default() -> Self {
        Self { whole: PER_CENT, over: 0, used: false }
    }
}

impl Division {
    fn fraction(&self, current: f64) -> f64 {
        if self.whole == 0 {
            return 0.0;
        }
        ((f64::from(self.over) + current) / f64::from(self.whole)).clamp(0.0, 1.0)
    }

    fn end(&mut self, weight: u32) {
        self.over = self.over.saturating_add(weight);
    }

    /// Steps that weigh more than was said make the whole greater.
    fn begin(&mut self, weight: u32) {
        self.used = true;
        self.whole = self.whole.max(self.over.saturating_add(weight));
    }
}

impl Steps {
    pub(crate) const fn new() -> Self {
        Self { task: Division { whole: PER_CENT, over: 0, used: false }, path: Vec::new(), last_key: ROOT }
    }

    /// Whether the task's fraction follows its steps.
    pub(crate) fn any(&self) -> bool {
        self.task.used
    }

    /// What the weights of the task's own steps add up to.
    pub(crate) fn whole(&self) -> u32 {
        self.task.whole
    }

    /// Begins a step of `parent`; the one beside it that was at work is over.
    pub(crate) fn begin(&mut self, parent: StepKey, name: String, weight: u32) -> StepKey {
        let Some(depth) = self.depth(parent).filter(|depth| *depth < DEEPEST_STEP) else { return OVER };
        self.end_below(depth);
        self.division(depth).begin(weight);
        self.last_key += 1;
        let (key, name) = (self.last_key, cut(name));
        self.path.push(Level { key, name, weight, total: 0, processed: 0, division: Division::default() });
        key
    }

    /// The first `done` steps of a plan are over, and the next one begins.
    pub(crate) fn follow(&mut self, parent: StepKey, plan: &Plan, done: usize) -> StepKey {
        let Some(depth) = self.depth(parent) else { return OVER };
        self.path.truncate(depth);
        let weights = |steps: &[crate::Step]| steps.iter().fold(0_u32, |sum, step| sum.saturating_add(step.weight));
        let (over, to_come) = plan.steps().split_at(done.min(plan.steps().len()));
        *self.division(depth) = Division { whole: weights(plan.steps()), over: weights(over), used: true };
        match to_come.first() {
            Some(next) => self.begin(parent, next.name.to_owned(), next.weight),
            None => OVER,
        }
    }

    /// The step is over. One that is not at work is left alone.
    pub(crate) fn end(&mut self, key: StepKey) {
        if let Some(depth) = self.depth(key)
            && depth > 0
        {
            self.end_below(depth - 1);
        }
    }

    /// Its steps' weights add up to this (at least to what is over).
    pub(crate) fn divide(&mut self, key: StepKey, whole: u32) {
        if let Some(depth) = self.depth(key) {
            let current = self.path.get(depth).map_or(0, |level| level.weight);
            let division = self.division(depth);
            division.whole = whole.max(division.over.saturating_add(current)).max(1);
        }
    }

    /// Changes the elements (processed, total) of a step at work.
    pub(crate) fn count(&mut self, key: StepKey, change: impl FnOnce(&mut i64, &mut i64)) {
        let Some(depth) = self.depth(key).filter(|depth| *depth > 0) else { return };
        let Level { processed, total, .. } = &mut self.path[depth - 1];
        change(processed, total);
        *total = (*total).clamp(0, ELEMENTS_AT_MOST);
        *processed = (*processed).clamp(0, *total);
    }

    /// How far the task is, by its steps alone.
    pub(crate) fn fraction(&self) -> f64 {
        self.fractions().0
    }

    /// The path, from the outermost step.
    pub(crate) fn states(&self) -> Vec<StepState> {
        let (_, fractions) = self.fractions();
        let mut of = self.task.whole;
        let mut states = Vec::with_capacity(self.path.len());
        for (level, fraction) in self.path.iter().zip(fractions) {
            states.push(StepState {
                name: level.name.clone(),
                weight: level.weight,
                of,
                fraction: (fraction * 100.0).round() / 100.0,
                total_elements: level.total,
                processed_elements: level.processed,
            });
            of = level.division.whole;
        }
        states
    }

    /// The task's fraction, and those of the path: each follows what is inside it.
    fn fractions(&self) -> (f64, Vec<f64>) {
        let mut fractions = vec![0.0; self.path.len()];
        let mut inner = 0.0;
        for (level, fraction) in self.path.iter().zip(&mut fractions).rev() {
            *fraction = if level.division.used {
                level.division.fraction(inner)
            } else {
                even_fraction(level.processed, level.total)
            };
            inner = f64::from(level.weight) * *fraction;
        }
        (self.task.fraction(inner), fractions)
    }

    /// 0 for the task, 1 for a step of it, and so on; `None` unless it is at work.
    fn depth(&self, key: StepKey) -> Option<usize> {
        if key == ROOT {
            return Some(0);
        }
        self.path.iter().position(|level| level.key == key).map(|place| place + 1)
    }

    fn division(&mut self, depth: usize) -> &mut Division {
        match depth {
            0 => &mut self.task,
            below => &mut self.path[below - 1].division,
        }
    }

    /// Whatever is at work within the step at this depth is over.
    fn end_below(&mut self, depth: usize) {
        if let Some(level) = self.path.get(depth) {
            let weight = level.weight;
            self.path.truncate(depth);
            self.division(depth).end(weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{DEEPEST_STEP, OVER, ROOT, Steps};
    use crate::{Plan, Step};

    fn begin(steps: &mut Steps, parent: u64, weight: u32) -> u64 {
        steps.begin(parent, "step".to_owned(), weight)
    }

    #[test]
    fn a_step_within_a_step_counts_for_its_share_of_a_share() {
        let mut steps = Steps::new();
        begin(&mut steps, ROOT, 30);
        let indexing = begin(&mut steps, ROOT, 70);
        assert_eq!(steps.fraction(), 0.3, "the first is over once the second begins");
        steps.divide(indexing, 4);
        begin(&mut steps, indexing, 1);
        let second = begin(&mut steps, indexing, 1);
        steps.count(second, |processed, total| (*processed, *total) = (1, 2));
        assert_eq!(steps.fraction(), (30.0 + 70.0 * 1.5 / 4.0) / 100.0);
        let states = steps.states();
        assert_eq!(states.iter().map(|state| (state.weight, state.of)).collect::<Vec<_>>(), [(70, 100), (1, 4)]);
        assert_eq!(states.iter().map(|state| state.fraction).collect::<Vec<_>>(), [0.38, 0.5]);
        steps.end(indexing);
        assert_eq!((steps.fraction(), steps.states().len()), (1.0, 0));
    }

    #[test]
    fn what_is_said_to_a_step_that_is_over_is_passed_over() {
        let mut steps = Steps::new();
        let first = begin(&mut steps, ROOT, 50);
        let inner = begin(&mut steps, first, 50);
        begin(&mut steps, ROOT, 25);
        for over in [first, inner, OVER] {
            steps.count(over, |processed, total| (*processed, *total) = (1, 1));
            steps.divide(over, 1);
            steps.end(over);
            assert_eq!(begin(&mut steps, over, 1), OVER);
        }
        assert_eq!(steps.fraction(), 0.5);
    }

    #[test]
    fn a_plans_step_is_subdivided() {
        const PLAN: Plan = Plan::new(&[Step { name: "a", weight: 34 }, Step { name: "b", weight: 66 }]);
        let mut steps = Steps::new();
        let second = steps.follow(ROOT, &PLAN, 1);
        assert_eq!(steps.fraction(), 0.34);
        begin(&mut steps, second, 50);
        begin(&mut steps, second, 50);
        assert_eq!(steps.fraction(), 0.67);
        assert_eq!(steps.follow(ROOT, &PLAN, 2), OVER);
        assert_eq!(steps.fraction(), 1.0);
    }

    #[test]
    fn steps_without_weight_or_end_do_no_harm() {
        const NONE: Plan = Plan::new(&[]);
        let mut steps = Steps::new();
        assert_eq!((steps.follow(ROOT, &NONE, 3), steps.fraction()), (OVER, 0.0));
        let mut parent = ROOT;
        for _ in 0..3 * DEEPEST_STEP {
            parent = begin(&mut steps, parent, 0);
        }
        assert_eq!((steps.states().len(), steps.fraction()), (DEEPEST_STEP, 0.0));
        begin(&mut steps, ROOT, u32::MAX);
        begin(&mut steps, ROOT, u32::MAX);
        assert!((0.0..=1.0).contains(&steps.fraction()));
    }

    proptest! {
        /// Weights that add up to what was said never make the fraction fall.
        #[test]
        fn the_fraction_grows_from_zero_to_one(outer in prop::collection::vec(prop::collection::vec(0_u32..9, 0..6), 1..6)) {
            let mut steps = Steps::new();
            steps.divide(ROOT, u32::try_from(outer.len()).expect("few"));
            let mut before = 0.0;
            for inner in &outer {
                let step = begin(&mut steps, ROOT, 1);
                steps.divide(step, inner.iter().sum());
                for weight in inner {
                    let leaf = begin(&mut steps, step, *weight);
                    for processed in 0..=3 {
                        steps.count(leaf, |done, total| (*done, *total) = (processed, 3));
                        let now = steps.fraction();
                        prop_assert!(now >= before - 1e-12 && now <= 1.0, "{before} then {now}");
                        before = now;
                    }
                }
                steps.end(step);
            }
            prop_assert!((steps.fraction() - 1.0).abs() < 1e-9);
        }
    }
}
