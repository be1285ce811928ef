//! Whether a process is ready, and whether its loops go round.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// Whether a process is ready, and whether its loops go round: what a service manager and an
/// orchestrator ask. Cheap to clone: clones are of the same process.
#[derive(Debug, Clone)]
pub struct Vitals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    ready: watch::Sender<bool>,
    loops: Mutex<Vec<Arc<Loop>>>,
}

#[derive(Debug)]
struct Loop {
    name: String,
    /// Milliseconds from the beginning until which it need not beat again.
    due: AtomicU64,
    ended: AtomicBool,
}

impl Default for Vitals {
    fn default() -> Self {
        Self(Arc::new(Inner { began: Instant::now(), ready: watch::Sender::new(false), loops: Mutex::default() }))
    }
}

impl Vitals {
    /// The process does what it is there for.
    pub fn become_ready(&self) {
        self.0.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
    }

    /// Whether it does.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.0.ready.borrow()
    }

    /// Waits until it does.
    pub async fn ready(&self) {
        let mut ready = self.0.ready.subscribe();
        // The sender is here, so it is not gone.
        while !*ready.borrow_and_update() && ready.changed().await.is_ok() {}
    }

    /// A loop that must beat again and again, the first time `within` this.
    #[must_use]
    pub fn watch(&self, name: impl Into<String>, within: Duration) -> Pulse {
        let watched = Arc::new(Loop { name: name.into(), due: AtomicU64::default(), ended: AtomicBool::default() });
        self.loops().push(Arc::clone(&watched));
        let pulse = Pulse { began: self.0.began, watched };
        pulse.beat(within);
        pulse
    }

    /// The loops that have not beaten in time, or panicked.
    #[must_use]
    pub fn silent(&self) -> Vec<String> {
        let now = millis(self.0.began.elapsed());
        let mut loops = self.loops();
        loops.retain(|watched| !watched.ended.load(Ordering::Relaxed));
        let late = loops.iter().filter(|watched| watched.due.load(Ordering::Relaxed) < now);
        late.map(|watched| watched.name.clone()).collect()
    }

    fn loops(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Loop>>> {
        self.0.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pulse of one loop. The loop ends in order when this is dropped, unless by a panic.
#[derive(Debug)]
pub struct Pulse {
    began: Instant,
    watched: Arc<Loop>,
}

impl Pulse {
    /// The loop goes round, and will have done so again `within` this.
    pub fn beat(&self, within: Duration) {
        self.watched.due.store(millis(self.began.elapsed().saturating_add(within)), Ordering::Relaxed);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.watched.due.store(0, Ordering::Relaxed);
        } else {
            self.watched.ended.store(true, Ordering::Relaxed);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Vitals;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn a_loop_that_does_not_beat_in_time_is_silent_until_it_does() {
        let vitals = Vitals::default();
        let (quick, stuck) = (vitals.watch("quick", LONG), vitals.watch("stuck", LONG));
        assert!(vitals.silent().is_empty());
        stuck.beat(Duration::ZERO);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(vitals.silent(), ["stuck"]);
        stuck.beat(LONG);
        assert!(vitals.silent().is_empty());
        drop((quick, stuck));
    }

    #[test]
    fn a_loop_that_ends_is_forgotten_and_one_that_panics_is_not() {
        let vitals = Vitals::default();
        drop(vitals.watch("ended", Duration::ZERO));
        let pulse = vitals.watch("panicked", LONG);
        std::thread::sleep(Duration::from_millis(5));
        let panicked = std::thread::spawn(move || {
            pulse.beat(LONG);
            panic!("as it is meant to");
        });
        assert!(panicked.join().is_err());
        assert_eq!(vitals.silent(), ["panicked"]);
    }

    #[tokio::test]
    async fn who_waits_for_readiness_is_told_also_afterwards() {
        let vitals = Vitals::default();
        assert!(!vitals.is_ready());
        let waiting = tokio::spawn({
            let vitals = vitals.clone();
            async move { vitals.ready().await }
        });
        vitals.become_ready();
        vitals.become_ready();
        waiting.await.expect("it ends");
        vitals.ready().await;
        assert!(vitals.is_ready());
    }
}
