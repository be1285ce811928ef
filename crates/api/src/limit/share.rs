//! How many of something each caller has at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many of something (streams, great bodies) each caller has at once. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Shares(Arc<Mutex<HashMap<String, usize>>>);

/// One of them, until it is dropped.
pub(crate) struct Share {
    of: Shares,
    subject: String,
}

impl Shares {
    /// Takes one more for a caller; `None` if it has as many as it may.
    pub(crate) fn take(&self, subject: &str, most: usize) -> Option<Share> {
        let mut taken = self.lock();
        let count = taken.entry(subject.to_owned()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Share { of: self.clone(), subject: subject.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.of.lock();
        if let Some(count) = taken.get_mut(&self.subject) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.subject);
            }
        }
    }
}
