//! What this worker knows of gated queues, and which of them the gatekeeper is to look after.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Shared by the listener, which hears what happened, the gatekeeper, which acts upon it, and
/// the lanes.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    state: Mutex<State>,
    news: Notify,
    types_are_paused: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Gated queues; `true`: tasks that arrive make no difference until a place is free.
    gated: HashMap<String, bool>,
    due: Due,
}

/// What the gatekeeper is to look after.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// These queues.
    pub(crate) queues: BTreeSet<String>,
    /// All queues: settings have changed, or notifications may have been lost.
    pub(crate) all: bool,
}

impl Gates {
    /// A task was stored. Returns whether its queue is gated, so that lanes need not look.
    pub(crate) fn arrived(&self, queue: &str) -> bool {
        let mut state = self.state();
        let Some(full) = state.gated.get(queue).copied() else { return false };
        if !full && state.due.queues.insert(queue.to_owned()) {
            self.news.notify_one();
        }
        true
    }

    /// Whether this queue is gated, as far as this worker knows.
    pub(crate) fn is_gated(&self, queue: &str) -> bool {
        self.state().gated.contains_key(queue)
    }

    /// A place became free in this queue; without a name, settings have changed somewhere.
    pub(crate) fn changed(&self, queue: &str) {
        let mut state = self.state();
        if queue.is_empty() {
            state.due.all = true;
        } else {
            if let Some(full) = state.gated.get_mut(queue) {
                *full = false;
            }
            state.due.queues.insert(queue.to_owned());
        }
        self.news.notify_one();
    }

    /// Until there is something to look after.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// What is to be looked after now; that is done with then.
    pub(crate) fn take_due(&self) -> Due {
        std::mem::take(&mut self.state().due)
    }

    /// Gated queues in which tasks that arrive may make a difference.
    pub(crate) fn open(&self) -> Vec<String> {
        self.state().gated.iter().filter(|(_, full)| !**full).map(|(queue, _)| queue.clone()).collect()
    }

    /// Exactly these queues are gated. Returns whether one is not any more, so that lanes have
    /// to look for what arrived there.
    pub(crate) fn know(&self, gated: impl Iterator<Item = String>) -> bool {
        let mut state = self.state();
        let before = std::mem::take(&mut state.gated);
        state.gated = gated
            .map(|queue| {
                let full = before.get(&queue).copied().unwrap_or(false);
                (queue, full)
            })
            .collect();
        before.keys().any(|queue| !state.gated.contains_key(queue))
    }

    /// What the gatekeeper found.
    pub(crate) fn found(&self, queue: &str, gated: bool, full: bool) {
        let mut state = self.state();
        if gated {
            state.gated.insert(queue.to_owned(), full);
        } else {
            state.gated.remove(queue);
        }
    }

    /// Whether a task type is paused, as far as this worker knows.
    pub(crate) fn types_are_paused(&self) -> bool {
        self.types_are_paused.load(Ordering::Relaxed)
    }

    /// Returns whether that is news.
    pub(crate) fn know_types_are_paused(&self, paused: bool) -> bool {
        self.types_are_paused.swap(paused, Ordering::Relaxed) != paused
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
