//! Proves from a history what the queue promises, or tells what breaks it.

mod families;
mod places;
mod requests;
mod runs;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use longhaul::uuid::Uuid;

use crate::history::{Effect, History, Micros, Task};

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    /// The task that shows it, if it is one task's.
    pub(crate) task: Option<Uuid>,
    /// The request that shows it, by one of its tokens.
    pub(crate) token: Option<String>,
    pub(crate) says: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A task was accepted and is not there.
    Lost,
    /// A task that was refused is there, or an accepted request is no task of its own.
    Unasked,
    /// Part of a request was stored.
    Torn,
    /// One request is two tasks.
    TwoTasks,
    /// A task is open although everything has come to rest.
    Stranded,
    /// The queue's tables contradict each other.
    Misplaced,
    /// A service had to put a task back.
    Repaired,
    /// A task or an attempt failed, or a task was cancelled, though nothing was wrong with it.
    FalselyFailed,
    /// A success lacks effects.
    EffectLost,
    /// An effect was committed twice.
    EffectDoubled,
    /// A run wrote behind the fence after a later one had begun.
    Overtaken,
    /// Progress fell within an attempt.
    ProgressFell,
    /// More were at work, or began, than may.
    LimitBroken,
    /// Two tasks with one unique key were at work at once.
    UniqueBroken,
    /// A task began before its time.
    TooEarly,
    /// A task did not begin after what it waits for, or in spite of it.
    OutOfOrder,
    /// A family's counts or end are wrong.
    FamilyWrong,
}

impl Violation {
    fn of_task(kind: Kind, task: Uuid, says: impl Into<String>) -> Self {
        Self { kind, task: Some(task), token: None, says: says.into() }
    }

    fn of_request(kind: Kind, token: &str, says: impl Into<String>) -> Self {
        Self { kind, task: None, token: Some(token.to_owned()), says: says.into() }
    }
}

/// `finished_at` is the start of the transaction that stored the end, which may have waited for
/// a lock before it got so far, as long as statements may take.
const END_TAKES: Micros = 15_000_000;

/// The history by task.
struct Index<'a> {
    tasks: HashMap<Uuid, &'a Task>,
    by_token: HashMap<&'a str, Vec<&'a Task>>,
    effects: HashMap<Uuid, Vec<&'a Effect>>,
    children: HashMap<Uuid, Vec<&'a Task>>,
}

impl<'a> Index<'a> {
    fn of(history: &'a History) -> Self {
        let mut index =
            Self { tasks: HashMap::new(), by_token: HashMap::new(), effects: HashMap::new(), children: HashMap::new() };
        for task in &history.tasks {
            index.tasks.insert(task.id, task);
            if let Some(parent) = task.parent {
                index.children.entry(parent).or_default().push(task);
            }
            if let Some(token) = &task.token {
                index.by_token.entry(token).or_default().push(task);
            }
        }
        for effect in &history.effects {
            index.effects.entry(effect.task).or_default().push(effect);
        }
        index
    }

    fn effects(&self, task: Uuid) -> &[&'a Effect] {
        self.effects.get(&task).map(Vec::as_slice).unwrap_or_default()
    }

    fn children(&self, parent: Uuid) -> &[&'a Task] {
        self.children.get(&parent).map(Vec::as_slice).unwrap_or_default()
    }

    /// When the task or a child of it had its lease for the last time, as far as is known.
    fn last_at_work(&self, task: Uuid) -> Option<Micros> {
        let children = self.children(task).iter().map(|child| child.id);
        children.chain([task]).filter_map(|id| Some(self.at_work(id)?.1)).max()
    }

    /// When the task had its lease for the first and for the last time, as far as is known.
    fn at_work(&self, task: Uuid) -> Option<(i64, i64)> {
        let effects = self.effects(task);
        Some((effects.first()?.at, effects.last()?.at))
    }
}

/// Everything that breaks a promise.
pub(crate) fn check(history: &History) -> Vec<Violation> {
    let index = Index::of(history);
    let mut found = Vec::new();
    requests::check(history, &index, &mut found);
    places::check(history, &mut found);
    runs::check(history, &index, &mut found);
    families::check(history, &index, &mut found);
    found
}
