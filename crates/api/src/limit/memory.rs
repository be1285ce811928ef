//! How much all requests together may have sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that the bodies of all requests together may still have. Cheap to clone.
#[derive(Clone)]
pub(crate) struct BodyMemory(Arc<AtomicUsize>);

/// What one request has sent, until this is dropped.
pub(crate) struct Taken {
    of: BodyMemory,
    bytes: AtomicUsize,
}

impl BodyMemory {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    pub(crate) fn of_one_request(&self) -> Taken {
        Taken { of: self.clone(), bytes: AtomicUsize::new(0) }
    }
}

impl Taken {
    /// Takes so many bytes more; `false` if there are not so many.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let left = &self.of.0;
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok();
        if taken {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        taken
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.of.0.fetch_add(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::BodyMemory;

    #[test]
    fn what_was_taken_is_there_again_once_its_request_is_over() {
        let memory = BodyMemory::new(10);
        let (first, second) = (memory.of_one_request(), memory.of_one_request());
        assert!(first.take(6) && first.take(1) && !second.take(4) && second.take(3));
        drop(first);
        assert!(second.take(7) && !second.take(1));
    }
}
