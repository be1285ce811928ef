//! Whether this worker is idle, so that whoever stores tasks has to notify it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Shared by the lanes, which tell what they find, and the keeper of the idle
/// locks (`longhaul_model::store::idle`).
///
/// While tasks come one after the other, a notification for each would cost whoever stores them
/// more than it saves here. So a worker that is notified often polls every few milliseconds,
/// and one that finds nothing becomes idle.
#[derive(Debug)]
pub(crate) struct Idle {
    state: Mutex<State>,
    news: Notify,
}

/// How this worker learns of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By looking now and then: it has no connection for its idle locks.
    Disconnected,
    /// By looking again and again; nobody notifies it.
    Polling,
    /// The same, until it has its idle locks.
    Acquiring,
    /// By notifications.
    Idle,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// The last time that a claim found something.
    found_at: Instant,
    /// When the notifications that are counted began.
    window: Instant,
    /// Notifications since then.
    notifications: u32,
    /// Claims, one after the other, that found all they had room for.
    full: u32,
    /// Another worker gave its idle lock back since this one last tried to get it.
    lock_released: bool,
    /// Notifications reach this worker. Otherwise it never becomes idle.
    listens: bool,
    /// When it last became idle.
    idle_since: Instant,
    /// It becomes idle if it finds nothing for so long.
    patience: Duration,
}

/// A lane of a worker that polls looks again after a quarter of the time in which nothing was
/// found, but not sooner nor later than this.
const SHORTEST_POLL: Duration = Duration::from_millis(2);
const LONGEST_POLL: Duration = Duration::from_millis(20);
/// One of a worker that acquires its idle locks, or can't have any. It is woken once it has them.
const SLOW_POLL: Duration = Duration::from_millis(50);
/// A worker that found nothing for so long becomes idle; longer, at most [`MOST_PATIENCE`], if it
/// is notified often again within [`SHORT_IDLE`]: many workers share the tasks.
const PATIENCE: Duration = Duration::from_millis(10);
const MOST_PATIENCE: Duration = Duration::from_millis(160);
const SHORT_IDLE: Duration = Duration::from_millis(100);
/// After this long an idle time it starts with [`PATIENCE`] again.
const LONG_IDLE: Duration = Duration::from_secs(1);
/// So many notifications within [`WINDOW`], or so many claims that find all they have room for, and
/// it polls.
const NOTIFICATIONS: u32 = 8;
const FULL: u32 = 2;
const WINDOW: Duration = Duration::from_millis(20);

impl Default for Idle {
    fn default() -> Self {
        let now = Instant::now();
        let state = State {
            mode: Mode::Disconnected,
            found_at: now,
            window: now,
            notifications: 0,
            full: 0,
            lock_released: false,
            listens: false,
            idle_since: now,
            patience: PATIENCE,
        };
        Self { state: Mutex::new(state), news: Notify::new() }
    }
}

impl Idle {
    /// A task was stored, and this worker was notified. Returns whether it polls from now on:
    /// then all lanes have to look.
    pub(crate) fn notified(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        if now.duration_since(state.window) > WINDOW {
            (state.window, state.notifications) = (now, 0);
        }
        state.notifications += 1;
        state.notifications >= NOTIFICATIONS && self.keep_polling(&mut state, now)
    }

    /// A claim found so many tasks; `full`: all that it had room for.
    pub(crate) fn claimed(&self, found: usize, full: bool) {
        let now = Instant::now();
        let mut state = self.state();
        state.full = if full { state.full + 1 } else { 0 };
        if found > 0 {
            state.found_at = now;
        } else if state.mode == Mode::Polling && now.duration_since(state.found_at) >= state.patience {
            state.mode = Mode::Acquiring;
            self.news.notify_one();
        }
        if state.full >= FULL {
            // A full claim wakes the next lane in any case.
            let _slept = self.keep_polling(&mut state, now);
        }
    }

    /// Returns whether it was idle until now.
    fn keep_polling(&self, state: &mut State, now: Instant) -> bool {
        if !matches!(state.mode, Mode::Acquiring | Mode::Idle) {
            return false;
        }
        let was_idle = state.mode == Mode::Idle;
        if was_idle {
            let rest = now.duration_since(state.idle_since);
            if rest < SHORT_IDLE {
                state.patience = (state.patience * 2).min(MOST_PATIENCE);
            } else if rest > LONG_IDLE {
                state.patience = PATIENCE;
            }
        }
        state.mode = Mode::Polling;
        state.found_at = now;
        state.notifications = 0;
        self.news.notify_one();
        was_idle
    }

    /// How long a lane that has found nothing may rest before it looks again, if nothing wakes it;
    /// `None`: as long as it likes.
    pub(crate) fn poll_after(&self) -> Option<Duration> {
        let state = self.state();
        match state.mode {
            Mode::Polling => Some((state.found_at.elapsed() / 4).clamp(SHORTEST_POLL, LONGEST_POLL)),
            Mode::Acquiring | Mode::Disconnected => Some(SLOW_POLL),
            Mode::Idle => None,
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.state().mode
    }

    /// The idle locks are about to be acquired.
    pub(crate) fn begin_acquiring(&self) {
        self.state().lock_released = false;
    }

    /// All idle locks are held, by this worker or by other idle ones. Returns whether it is idle
    /// from now on: nothing has changed while they were acquired, and it is listening.
    pub(crate) fn become_idle(&self) -> bool {
        let mut state = self.state();
        let falls = state.mode == Mode::Acquiring && !state.lock_released && state.listens;
        if falls {
            state.mode = Mode::Idle;
            state.idle_since = Instant::now();
        }
        falls
    }

    /// There is a connection for the idle locks again, or none any more.
    pub(crate) fn connected(&self, connected: bool) {
        let mut state = self.state();
        state.mode = if connected { Mode::Polling } else { Mode::Disconnected };
        state.found_at = Instant::now();
    }

    /// Notifications reach this worker from now on, or do not any more: what was told before is lost.
    /// Returns whether it was idle until now.
    pub(crate) fn listens(&self, listens: bool) -> bool {
        self.state().listens = listens;
        self.lock_released()
    }

    /// Nobody may hold an idle lock that this worker relies on. Returns whether it was idle until now:
    /// then all lanes have to look.
    pub(crate) fn lock_released(&self) -> bool {
        let mut state = self.state();
        state.lock_released = true;
        let was_idle = state.mode == Mode::Idle;
        if was_idle {
            state.mode = Mode::Acquiring;
        }
        self.news.notify_one();
        was_idle
    }

    /// Until the mode may have changed.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{FULL, Idle, Mode, NOTIFICATIONS, PATIENCE, SHORT_IDLE, SLOW_POLL};

    fn acquiring() -> Idle {
        let idle = Idle::default();
        idle.connected(true);
        assert!(!idle.listens(true), "it was not idle");
        std::thread::sleep(PATIENCE);
        idle.claimed(0, false);
        assert_eq!(idle.mode(), Mode::Acquiring);
        idle
    }

    #[test]
    fn a_worker_that_finds_nothing_becomes_idle_unless_another_releases_its_lock() {
        let idle = Idle::default();
        assert_eq!((idle.mode(), idle.poll_after()), (Mode::Disconnected, Some(SLOW_POLL)));
        let idle = acquiring();
        idle.begin_acquiring();
        assert!(!idle.lock_released());
        assert!(!idle.become_idle(), "the lock that it relied on is gone");
        idle.begin_acquiring();
        assert!(idle.become_idle() && !idle.become_idle());
        assert_eq!(idle.poll_after(), None);
        assert!(idle.lock_released(), "all lanes have to look");
        assert_eq!(idle.mode(), Mode::Acquiring);

        idle.begin_acquiring();
        assert!(idle.become_idle());
        assert!(idle.listens(false), "no notification wakes the lanes from here on");
        assert_eq!(idle.poll_after(), Some(SLOW_POLL));
        idle.begin_acquiring();
        assert!(!idle.become_idle(), "nothing would tell it of a task");
        idle.listens(true);
        idle.begin_acquiring();
        assert!(idle.become_idle());
    }

    #[test]
    fn a_worker_that_is_notified_often_or_filled_keeps_polling() {
        let idle = acquiring();
        idle.begin_acquiring();
        assert!(idle.become_idle());
        for number in 1..=NOTIFICATIONS {
            assert_eq!(idle.mode(), Mode::Idle);
            assert_eq!(idle.notified(), number == NOTIFICATIONS);
        }
        assert_eq!(idle.mode(), Mode::Polling);
        // Many share the tasks: it is more patient the next time.
        let state = idle.state();
        assert!(state.patience > PATIENCE || state.idle_since.elapsed() > SHORT_IDLE);
        drop(state);

        let idle = acquiring();
        for _ in 0..FULL {
            assert_eq!(idle.mode(), Mode::Acquiring);
            idle.claimed(100, true);
        }
        assert_eq!(idle.mode(), Mode::Polling);
    }
}
