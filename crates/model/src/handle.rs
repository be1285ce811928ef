//! How a handler reports its progress.

use crate::attempt::Live;
use crate::limits::ELEMENTS_AT_MOST;
use crate::progress::cut;
use crate::steps::{ROOT, StepKey};
use crate::{Attempt, Plan, Progress};

/// Sets an attempt's progress. Every call is cheap and changes memory only.
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
    attempt: &'a Attempt,
}

/// A step of a task, or of another step; see [`ProgressHandle::step`].
///
/// It is done once its next sibling begins, or by [`done`](StepHandle::done). Later reports to it
/// are ignored. Sibling steps run one after the other: for concurrent work, let all of it
/// [`advance`](StepHandle::advance) one step.
#[derive(Debug, Clone, Copy)]
pub struct StepHandle<'a> {
    attempt: &'a Attempt,
    key: StepKey,
}

impl Attempt {
    /// Reports progress.
    #[must_use]
    pub fn progress(&self) -> ProgressHandle<'_> {
        ProgressHandle { attempt: self }
    }
}

impl<'a> ProgressHandle<'a> {
    /// Sets the total number of elements: 0 to 2^53
    /// ([`ELEMENTS_AT_MOST`](crate::ELEMENTS_AT_MOST)). Values out of range count as the nearest
    /// one.
    pub fn set_total(self, total: i64) {
        self.count(|progress| progress.total = total.clamp(0, ELEMENTS_AT_MOST));
    }

    /// Sets the number of processed elements; at most the total.
    pub fn set_processed(self, processed: i64) {
        self.count(|progress| progress.processed = processed);
    }

    /// Adds to the number of processed elements.
    pub fn advance(self, by: i64) {
        self.count(|progress| progress.processed = progress.processed.saturating_add(by));
    }

    /// Sets the message, which describes the current work. Steps set it to their names.
    pub fn set_message(self, message: impl Into<String>) {
        let message = cut(message.into());
        self.attempt.set_message(message);
    }

    /// Begins a step with a weight of `weight` per cent of the task (or of the total of
    /// [`divide_into`](ProgressHandle::divide_into)). The previous step is done. From the first
    /// step on, the fraction follows the steps, and so do the task's elements, unless the handler
    /// also counts them.
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

    /// Sets the sum of the weights of the task's steps. Default: 100. If the weights add up to
    /// more, so does the total.
    pub fn divide_into(self, parts: usize) -> Self {
        divide(self.attempt, ROOT, parts);
        self
    }

    /// Reports that the first `done` steps of a plan are done: sets elements, fraction and message
    /// at once. Returns the step that begins, which may have steps in turn. If all are done,
    /// reports to the returned step are ignored.
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
    /// Sets the step's processed and total elements.
    pub fn set(self, processed: i64, total: i64) {
        self.count(|now, all| (*now, *all) = (processed, total));
    }

    /// Sets the step's total number of elements, at most 2^53.
    pub fn set_total(self, total: i64) {
        self.count(|_, all| *all = total);
    }

    /// How many of them are done.
    pub fn set_processed(self, processed: i64) {
        self.count(|now, _| *now = processed);
    }

    /// Adds to the number of processed elements.
    pub fn advance(self, by: i64) {
        self.count(|now, _| *now = now.saturating_add(by));
    }

    /// Begins a step of this step, as [`ProgressHandle::step`] does for the task. From then on this
    /// step's fraction follows its steps. Steps nest at most 16 levels deep.
    pub fn step(self, name: impl Into<String>, weight: u32) -> StepHandle<'a> {
        begin(self.attempt, self.key, name.into(), weight)
    }

    /// Sets the sum of the weights of its steps, see [`ProgressHandle::divide_into`].
    pub fn divide_into(self, parts: usize) -> Self {
        divide(self.attempt, self.key, parts);
        self
    }

    /// Reports that the first `done` steps of a plan for this step are done.
    pub fn set_step(self, plan: &Plan, done: usize) -> StepHandle<'a> {
        let message = plan.after(done).message;
        let key = self.attempt.change(|live| {
            live.progress.message = message;
            live.steps.follow(self.key, plan, done)
        });
        StepHandle { attempt: self.attempt, key }
    }

    /// Reports that the step is done, with all its steps.
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
