//! The attempts that run now.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longhaul_model::{Attempt, StopReason};
use tokio::task::AbortHandle;
use uuid::Uuid;

/// The attempts that run now, by task. Shared by lanes (which add and remove),
/// flusher and keeper (which look).
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    running: Mutex<HashMap<Uuid, Running>>,
}

#[derive(Debug)]
struct Running {
    attempt: Arc<Attempt>,
    abort: AbortHandle,
}

impl InFlight {
    /// Spawns what runs the attempt, and adds it. However soon it ends, it can't
    /// [`remove`](InFlight::remove) itself before it was added: the lock is held.
    pub(crate) fn spawn(&self, attempt: Arc<Attempt>, run: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running();
        let abort = tokio::spawn(run).abort_handle();
        running.insert(attempt.id(), Running { attempt, abort });
    }

    /// Removes this very attempt (not a later one at the same task).
    pub(crate) fn remove(&self, attempt: &Arc<Attempt>) {
        let mut running = self.running();
        if running.get(&attempt.id()).is_some_and(|entry| Arc::ptr_eq(&entry.attempt, attempt)) {
            running.remove(&attempt.id());
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Attempt>> {
        self.running().values().map(|entry| Arc::clone(&entry.attempt)).collect()
    }

    pub(crate) fn get(&self, id: Uuid) -> Option<Arc<Attempt>> {
        self.running().get(&id).map(|entry| Arc::clone(&entry.attempt))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.running().is_empty()
    }

    /// Asks every attempt that `which` picks to stop.
    pub(crate) fn stop(&self, reason: StopReason, which: impl Fn(&Attempt) -> bool) -> usize {
        let picked: Vec<_> = self.all().into_iter().filter(|attempt| which(attempt)).collect();
        picked.iter().for_each(|attempt| attempt.stop(reason));
        picked.len()
    }

    /// Aborts every attempt; what they would still say is lost.
    pub(crate) fn abort_all(&self) -> Vec<Arc<Attempt>> {
        let running = std::mem::take(&mut *self.running());
        running
            .into_values()
            .map(|entry| {
                entry.abort.abort();
                entry.attempt
            })
            .collect()
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Uuid, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
