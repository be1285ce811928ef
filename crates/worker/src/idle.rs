//! Whether this worker sleeps, so that whoever stores tasks has to notify it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Shared by the lanes, which tell what they find, and the doorkeeper, which holds the idle
/// locks (`longhaul_model::store::idle`).
///
/// While tasks come one after the other, a notification for each would cost whoever stores them
/// more than it saves here. So a worker that is notified often stays awake and looks every few
/// milliseconds, and one that finds nothing falls asleep.
#[derive(Debug)]
pub(crate) struct Idle {
    state: Mutex<State>,
    news: Notify,
}

/// How this worker learns of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By looking now and then: it has no connection for its idle locks.
    Deaf,
    /// By looking again and again; nobody notifies it.
    Awake,
    /// The same, until it has its idle locks.
    Tired,
    /// By notifications.
    Asleep,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// The last time that a claim found something.
    found_at: Instant,
    /// When the notifications that are counted began.
    window: Instant,
    /// Notifications since then.
    heard: u32,
    /// Claims, one after the other, that found all they had room for.
    full: u32,
    /// Another worker gave its idle lock back since this one last tried to get it.
    left_alone: bool,
    /// When it last fell asleep.
    asleep_at: Instant,
    /// It falls asleep if it finds nothing for so long.
    patience: Duration,
}

/// A lane of a worker that is awake looks again after a quarter of the time in which nothing was
/// found, but not sooner nor later than this.
const NAP: Duration = Duration::from_millis(2);
const LONGEST_NAP: Duration = Duration::from_millis(20);
/// One of a worker that waits for its idle locks, or can't have any. It is woken once it has them.
const LONG_NAP: Duration = Duration::from_millis(50);
/// A worker that found nothing for so long falls asleep; longer, at most [`MOST_PATIENCE`], if it
/// is woken again and again within [`SHORT_SLEEP`]: many workers share the tasks.
const PATIENCE: Duration = Duration::from_millis(10);
const MOST_PATIENCE: Duration = Duration::from_millis(160);
const SHORT_SLEEP: Duration = Duration::from_millis(100);
/// After a sleep this long it knows nothing of that any more.
const LONG_SLEEP: Duration = Duration::from_secs(1);
/// So many notifications within [`WINDOW`], or so many claims that find all they have room for, and
/// it stays awake.
const HEARD: u32 = 8;
const FULL: u32 = 2;
const WINDOW: Duration = Duration::from_millis(20);

impl Default for Idle {
    fn default() -> Self {
        let now = Instant::now();
        let state = State {
            mode: Mode::Deaf,
            found_at: now,
            window: now,
            heard: 0,
            full: 0,
            left_alone: false,
            asleep_at: now,
            patience: PATIENCE,
        };
        Self { state: Mutex::new(state), news: Notify::new() }
    }
}

impl Idle {
    /// A task was stored, and this worker was notified. Returns whether it stays awake from now on:
    /// then all lanes have to look.
    pub(crate) fn heard(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        if now.duration_since(state.window) > WINDOW {
            (state.window, state.heard) = (now, 0);
        }
        state.heard += 1;
        state.heard >= HEARD && self.stay_awake(&mut state, now)
    }

    /// A claim found so many tasks; `full`: all that it had room for.
    pub(crate) fn claimed(&self, found: usize, full: bool) {
        let now = Instant::now();
        let mut state = self.state();
        state.full = if full { state.full + 1 } else { 0 };
        if found > 0 {
            state.found_at = now;
        } else if state.mode == Mode::Awake && now.duration_since(state.found_at) >= state.patience {
            state.mode = Mode::Tired;
            self.news.notify_one();
        }
        if state.full >= FULL {
            // A full claim wakes the next lane in any case.
            let _slept = self.stay_awake(&mut state, now);
        }
    }

    /// Returns whether it slept until now.
    fn stay_awake(&self, state: &mut State, now: Instant) -> bool {
        if !matches!(state.mode, Mode::Tired | Mode::Asleep) {
            return false;
        }
        let slept = state.mode == Mode::Asleep;
        if slept {
            let rest = now.duration_since(state.asleep_at);
            if rest < SHORT_SLEEP {
                state.patience = (state.patience * 2).min(MOST_PATIENCE);
            } else if rest > LONG_SLEEP {
                state.patience = PATIENCE;
            }
        }
        state.mode = Mode::Awake;
        state.found_at = now;
        state.heard = 0;
        self.news.notify_one();
        slept
    }

    /// How long a lane that has found nothing may rest before it looks again, if nothing wakes it;
    /// `None`: as long as it likes.
    pub(crate) fn nap(&self) -> Option<Duration> {
        let state = self.state();
        match state.mode {
            Mode::Awake => Some((state.found_at.elapsed() / 4).clamp(NAP, LONGEST_NAP)),
            Mode::Tired | Mode::Deaf => Some(LONG_NAP),
            Mode::Asleep => None,
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.state().mode
    }

    /// The doorkeeper tries to get the idle locks.
    pub(crate) fn tries(&self) {
        self.state().left_alone = false;
    }

    /// All idle locks are held, by this worker or by others who sleep. Returns whether it sleeps
    /// from now on: nothing has changed while the doorkeeper tried.
    pub(crate) fn fall_asleep(&self) -> bool {
        let mut state = self.state();
        let falls = state.mode == Mode::Tired && !state.left_alone;
        if falls {
            state.mode = Mode::Asleep;
            state.asleep_at = Instant::now();
        }
        falls
    }

    /// There is a connection for the idle locks again, or none any more.
    pub(crate) fn connected(&self, connected: bool) {
        let mut state = self.state();
        state.mode = if connected { Mode::Awake } else { Mode::Deaf };
        state.found_at = Instant::now();
    }

    /// Nobody may hold an idle lock that this worker relies on. Returns whether it slept until now:
    /// then all lanes have to look.
    pub(crate) fn left_alone(&self) -> bool {
        let mut state = self.state();
        state.left_alone = true;
        let slept = state.mode == Mode::Asleep;
        if slept {
            state.mode = Mode::Tired;
        }
        self.news.notify_one();
        slept
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
    use super::{FULL, HEARD, Idle, LONG_NAP, Mode, PATIENCE, SHORT_SLEEP};

    fn tired() -> Idle {
        let idle = Idle::default();
        idle.connected(true);
        std::thread::sleep(PATIENCE);
        idle.claimed(0, false);
        assert_eq!(idle.mode(), Mode::Tired);
        idle
    }

    #[test]
    fn a_worker_that_finds_nothing_tires_and_sleeps_unless_its_neighbour_wakes_up() {
        let idle = Idle::default();
        assert_eq!((idle.mode(), idle.nap()), (Mode::Deaf, Some(LONG_NAP)));
        let idle = tired();
        assert!(!idle.left_alone());
        assert!(!idle.fall_asleep(), "the lock that it relied on is gone");
        idle.tries();
        assert!(idle.fall_asleep() && !idle.fall_asleep());
        assert_eq!(idle.nap(), None);
        assert!(idle.left_alone(), "all lanes have to look");
        assert_eq!(idle.mode(), Mode::Tired);
    }

    #[test]
    fn a_worker_that_is_notified_often_or_filled_stays_awake() {
        let idle = tired();
        assert!(idle.fall_asleep());
        for number in 1..=HEARD {
            assert_eq!(idle.mode(), Mode::Asleep);
            assert_eq!(idle.heard(), number == HEARD);
        }
        assert_eq!(idle.mode(), Mode::Awake);
        // Many share the tasks: it is more patient the next time.
        let state = idle.state();
        assert!(state.patience > PATIENCE || state.asleep_at.elapsed() > SHORT_SLEEP);
        drop(state);

        let idle = tired();
        for _ in 0..FULL {
            assert_eq!(idle.mode(), Mode::Tired);
            idle.claimed(100, true);
        }
        assert_eq!(idle.mode(), Mode::Awake);
    }
}
