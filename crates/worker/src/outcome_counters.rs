//! What this process has ended, counted in memory until it is written down.

use std::sync::atomic::{AtomicI64, Ordering};

use longhaul_model::State;
use longhaul_model::store::overview::Ended;

/// Counts of a minute or less.
#[derive(Debug, Default)]
pub(crate) struct OutcomeCounters {
    succeeded: AtomicI64,
    failed: AtomicI64,
    cancelled: AtomicI64,
    retried: AtomicI64,
}

impl OutcomeCounters {
    /// An attempt ended so.
    pub(crate) fn count(&self, state: State) {
        let counter = match state {
            State::Succeeded => &self.succeeded,
            State::Failed => &self.failed,
            State::Cancelled => &self.cancelled,
            State::Retrying => &self.retried,
            State::Scheduled | State::Queued | State::Running => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted since the last time.
    pub(crate) fn take(&self) -> Ended {
        let take = |counter: &AtomicI64| counter.swap(0, Ordering::Relaxed);
        Ended {
            succeeded: take(&self.succeeded),
            failed: take(&self.failed),
            cancelled: take(&self.cancelled),
            retried: take(&self.retried),
        }
    }

    /// Puts back what could not be written.
    pub(crate) fn put_back(&self, ended: Ended) {
        let Ended { succeeded, failed, cancelled, retried } = ended;
        for (counter, count) in [
            (&self.succeeded, succeeded),
            (&self.failed, failed),
            (&self.cancelled, cancelled),
            (&self.retried, retried),
        ] {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }
}
