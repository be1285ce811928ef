//! Named, weighted steps.

use crate::Progress;
use crate::progress::cut;

/// One step of a [`Plan`].
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// The message while the step runs, e.g. "Creating incident".
    pub name: &'static str,
    /// Its share of the work, relative to the other steps' weights; above 0.
    pub weight: u32,
}

/// The steps of a task that has a fixed, small number of them. Each step is one
/// element; the fraction follows the weights, so that one of two steps may be a
/// third of the work.
///
/// ```
/// use longhaul_model::{Plan, Step};
/// const PLAN: Plan = Plan::new(&[
///     Step { name: "Finding ticket", weight: 34 },
///     Step { name: "Creating incident", weight: 66 },
/// ]);
/// let progress = PLAN.after(1);
/// assert_eq!((progress.processed, progress.total), (1, 2));
/// assert_eq!(progress.fraction, 0.34);
/// assert_eq!(progress.message.as_deref(), Some("Creating incident"));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    steps: &'static [Step],
}

impl Plan {
    /// A plan of these steps, in this order.
    #[must_use]
    pub const fn new(steps: &'static [Step]) -> Self {
        Self { steps }
    }

    pub(crate) const fn steps(&self) -> &'static [Step] {
        self.steps
    }

    /// The progress after the first `done` steps. The message is the name of the next step, or that
    /// of the last one.
    #[must_use]
    pub fn after(&self, done: usize) -> Progress {
        self.within(done, 0.0)
    }

    /// As [`Plan::after`], with `part` (0 to 1) of the next step.
    #[must_use]
    pub fn within(&self, done: usize, part: f64) -> Progress {
        let done = done.min(self.steps.len());
        let whole: f64 = self.steps.iter().map(|step| f64::from(step.weight)).sum();
        let before: f64 = self.steps[..done].iter().map(|step| f64::from(step.weight)).sum();
        let current = self.steps.get(done).map_or(0.0, |step| f64::from(step.weight));
        let fraction = if whole > 0.0 { (before + current * part.clamp(0.0, 1.0)) / whole } else { 0.0 };
        Progress {
            total: i64::try_from(self.steps.len()).unwrap_or(i64::MAX),
            processed: i64::try_from(done).unwrap_or(i64::MAX),
            fraction,
            message: self.steps.get(done).or(self.steps.last()).map(|step| cut(step.name.to_owned())),
        }
    }
}
