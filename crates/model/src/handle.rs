//! How a handler reports its progress.

use crate::attempt::Live;
use crate::progress::cut;
use crate::steps::{ROOT, StepKey};
use crate::{Attempt, Plan, Progress};

/// Sets an attempt's progress. Every call is cheap and in memory.
///
/// Three ways, from the simplest; a task type uses one of them:
///
/// * Elements: [`set_total`](ProgressHandle::set_total), then
///   [`advance`](ProgressHandle::advance). The fraction is processed / total.
/// * A [`Plan`] of fixed steps: [`set_step`](ProgressHandle::set_step).
/// * Steps as they come: [`step`](ProgressHandle::step), each with its share of
///   the work, and steps within steps.
#[derive(Debug, Clone, Copy)]
pub struct ProgressHandle<'a> {
    pub(crate) attempt: &'a Attempt,
}

/// A step of a task, or of another step; see [`ProgressHandle::step`].
///
/// It is over once the next step beside it begins, or by
/// [`done`](StepHandle::done); what is said to it afterwards is passed over.
/// Steps beside each other follow one another: for work that goes on side by side,
/// let all of it [`advance`](StepHandle::advance) one step.
#[derive(Debug, Clone, Copy)]
pub struct StepHandle<'a> {
    attempt: &'a Attempt,
    key: StepKey,
}

impl<'a> ProgressHandle<'a> {
    /// How many elements there are in all.
    pub fn set_total(self, total: i64) {
        self.count(|progress| progress.total = total.max(0));
    }

    /// How many are done; more than the total counts as the total.
    pub fn set_processed(self, processed: i64) {
        self.count(|progress| progress.processed = processed);
    }

    /// That many more are done.
    pub fn advance(self, by: i64) {
        self.count(|progress| progress.processed = progress.processed.saturating_add(by));
    }

    /// What is being done now, in words. Steps set it to their names.
    pub fn set_message(self, message: impl Into<String>) {
        let message = cut(message.into());
        self.attempt.set_message(message);
    }

    /// Begins a step, `weight` per cent of the task (or of what
    /// [`divide_into`](ProgressHandle::divide_into) says). The step that was at
    /// work is over. From the first step on, the fraction follows the steps, and so
    /// do the task's elements, unless they are counted, too.
    ///
    /// ```
    /// # fn run(context: longhaul_model::RunContext, projects: Vec<(String, i64)>) {
    /// let reading = context.progress().step("Reading", 30);
    /// reading.set(7, 10); // 21 % of the task
    /// let indexing = context.progress().step("Indexing", 70).divide_into(projects.len());
    /// for (name, entities) in projects {
    ///     let project = indexing.step(name, 1); // one of so many parts of 70 %
    ///     for done in 1..=entities {
    ///         project.set(done, entities);
    ///     }
    /// }
    /// # }
    /// ```
    pub fn step(self, name: impl Into<String>, weight: u32) -> StepHandle<'a> {
        begin(self.attempt, ROOT, name.into(), weight)
    }

    /// What the weights of the task's steps add up to; 100 unless it is said. If
    /// they come to more, so does the whole.
    pub fn divide_into(self, parts: usize) -> Self {
        divide(self.attempt, ROOT, parts);
        self
    }

    /// The first `done` steps of a plan are over: sets elements, fraction and
    /// message at once. The step that begins may be divided, in turn; there is
    /// none, and what is said to it is passed over, when all are over.
    pub fn set_step(self, plan: &Plan, done: usize) -> StepHandle<'a> {
        let Progress { total, processed, message, .. } = plan.after(done);
        let key = self.attempt.change(|live| {
            live.counts = true;
            (live.progress.total, live.progress.processed, live.progress.message) = (total, processed, message);
            live.steps.follow(ROOT, plan, done)
        });
        StepHandle { attempt: self.attempt, key }
    }

    /// What has been reported so far.
    #[must_use]
    pub fn get(self) -> Progress {
        self.attempt.live().progress.clone()
    }

    fn count(self, change: impl FnOnce(&mut Progress)) {
        self.attempt.change(|live| {
            live.counts = true;
            change(&mut live.progress);
        });
    }
}

impl<'a> StepHandle<'a> {
    /// So many of its elements are done, of so many.
    pub fn set(self, processed: i64, total: i64) {
        self.count(|now, all| (*now, *all) = (processed, total));
    }

    /// How many elements it has.
    pub fn set_total(self, total: i64) {
        self.count(|_, all| *all = total);
    }

    /// How many of them are done.
    pub fn set_processed(self, processed: i64) {
        self.count(|now, _| *now = processed);
    }

    /// That many more are done.
    pub fn advance(self, by: i64) {
        self.count(|now, _| *now = now.saturating_add(by));
    }

    /// Begins a step of this step, as [`ProgressHandle::step`] does of the task.
    /// From then on this step's fraction follows its steps. Steps nest 16 deep at
    /// most.
    pub fn step(self, name: impl Into<String>, weight: u32) -> StepHandle<'a> {
        begin(self.attempt, self.key, name.into(), weight)
    }

    /// What the weights of its steps add up to, see
    /// [`ProgressHandle::divide_into`].
    pub fn divide_into(self, parts: usize) -> Self {
        divide(self.attempt, self.key, parts);
        self
    }

    /// The first `done` steps of a plan for this step are over.
    pub fn set_step(self, plan: &Plan, done: usize) -> StepHandle<'a> {
        let message = plan.after(done).message;
        let key = self.attempt.change(|live| {
            live.progress.message = message;
            live.steps.follow(self.key, plan, done)
        });
        StepHandle { attempt: self.attempt, key }
    }

    /// It is over, and all its steps with it.
    pub fn done(self) {
        self.attempt.change(|live| live.steps.end(self.key));
    }

    fn count(self, change: impl FnOnce(&mut i64, &mut i64)) {
        self.attempt.change(|live| live.steps.count(self.key, change));
    }
}

fn begin(attempt: &Attempt, parent: StepKey, name: String, weight: u32) -> StepHandle<'_> {
    let name = cut(attempt.without_secrets(name));
    let key = attempt.change(|Live { steps, progress, .. }| {
        progress.message = Some(name.clone());
        steps.begin(parent, name, weight)
    });
    StepHandle { attempt, key }
}

fn divide(attempt: &Attempt, key: StepKey, parts: usize) {
    let parts = u32::try_from(parts).unwrap_or(u32::MAX);
    attempt.change(|live| live.steps.divide(key, parts));
}
