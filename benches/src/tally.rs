//! Which tasks have begun, and when.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::Notify;
use uuid::Uuid;

/// In the worker's resources; handlers tell it that they begin.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: AtomicUsize,
    timed: AtomicBool,
    times: Mutex<HashMap<Uuid, Instant>>,
    changed: Notify,
}

/// A benchmark that stands still this long has failed.
const PATIENCE: Duration = Duration::from_secs(120);

impl Tally {
    /// Also remembers when each task began.
    pub(crate) fn timed() -> Self {
        let tally = Self::default();
        tally.0.timed.store(true, Ordering::Relaxed);
        tally
    }

    pub(crate) fn begun(&self, task: Uuid) {
        if self.0.timed.load(Ordering::Relaxed) {
            self.0.times.lock().unwrap_or_else(PoisonError::into_inner).insert(task, Instant::now());
            self.0.changed.notify_waiters();
        }
        self.0.count.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.count.load(Ordering::Acquire)
    }

    pub(crate) fn time_of(&self, task: Uuid) -> Option<Instant> {
        self.0.times.lock().unwrap_or_else(PoisonError::into_inner).get(&task).copied()
    }

    /// Waits until this task has begun; returns when it did.
    pub(crate) async fn wait_for(&self, task: Uuid) -> anyhow::Result<Instant> {
        let wait = async {
            loop {
                let changed = self.0.changed.notified();
                if let Some(time) = self.time_of(task) {
                    return time;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.context("the task did not begin")
    }

    /// Waits until that many have begun.
    pub(crate) async fn until(&self, count: usize) -> anyhow::Result<()> {
        let mut last = (self.count(), Instant::now());
        loop {
            let now = self.count();
            if now >= count {
                return Ok(());
            }
            if now != last.0 {
                last = (now, Instant::now());
            }
            anyhow::ensure!(last.1.elapsed() < PATIENCE, "{now} of {count} tasks have begun, and no more do");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
