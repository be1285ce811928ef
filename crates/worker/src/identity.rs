//! The worker's identity in the database.

use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use longhaul_model::store::LeaseKey;

/// The worker's row, which changes when it was presumed dead and registers
/// anew, and its running lease number.
#[derive(Debug)]
pub(crate) struct Identity {
    worker_id: AtomicI32,
    next_lease: AtomicI64,
}

impl Identity {
    pub(crate) fn new(worker_id: i32) -> Self {
        Self { worker_id: AtomicI32::new(worker_id), next_lease: AtomicI64::new(1) }
    }

    pub(crate) fn worker_id(&self) -> i32 {
        self.worker_id.load(Ordering::Acquire)
    }

    pub(crate) fn become_another(&self, worker_id: i32) {
        self.worker_id.store(worker_id, Ordering::Release);
    }

    pub(crate) fn next_lease(&self) -> LeaseKey {
        LeaseKey { worker_id: self.worker_id(), number: self.next_lease.fetch_add(1, Ordering::Relaxed) }
    }
}
