//! Admits tasks of gated queues.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longhaul_model::store::gate::{Kept, front, keep, list, try_moves, types_are_paused};
use longhaul_model::store::is_passing;

use super::{Service, tasks, texts};
use crate::idle::Mode;
use crate::shared::Shared;

/// Looks after a queue's gate when a notification says that tasks arrived or a place became
/// free, when time makes room, and after all gates when settings have changed, and once a
/// second in case a notification got lost.
pub(crate) struct Gatekeeper {
    times: Mutex<Times>,
}

struct Times {
    /// When all gates are to be looked after.
    all: Instant,
    /// When held tasks of types that were resumed are to be looked for, though another type is
    /// paused: that may read many rows.
    look_back: Instant,
    /// When time makes room, by queue.
    rooms: HashMap<String, Instant>,
    /// Queues whose gate the last run could not keep.
    failed: Vec<String>,
    /// The next run is not before.
    rest: Instant,
}

const ALL_EVERY: Duration = Duration::from_secs(1);
const LOOK_BACK_EVERY: Duration = Duration::from_secs(30);
/// How often it looks at gated queues while the worker polls, and the share of the time that this
/// may take.
const POLL_EVERY: Duration = Duration::from_millis(5);
const POLL_SHARE: u32 = 4;
/// In one run, of one queue: others wait for their turn.
const STEPS: usize = 4;

impl Default for Gatekeeper {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            times: Mutex::new(Times { all: now, look_back: now, rooms: HashMap::new(), failed: Vec::new(), rest: now }),
        }
    }
}

impl Gatekeeper {
    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All gates: learns which queues are gated, and adds those that are due.
    async fn look_around(&self, shared: &Shared, look_back: bool) -> sqlx::Result<Vec<String>> {
        if shared.gates.know_types_are_paused(types_are_paused(&shared.pool).await?) {
            shared.wake_all();
        }
        let known = list(&shared.pool, look_back).await?;
        if shared.gates.know(known.iter().filter(|queue| queue.gated).map(|queue| queue.name.clone())) {
            shared.wake();
        }
        Ok(known.into_iter().filter(|queue| queue.due).map(|queue| queue.name).collect())
    }

    async fn keep(&self, shared: &Shared, queue: &str, look_back: bool) -> sqlx::Result<Outcome> {
        let mut outcome = Outcome::default();
        for _ in 0..STEPS {
            // What another worker is at, it hears of itself.
            let Some(kept) = keep(&shared.pool, queue, look_back, false).await? else { return Ok(Outcome::default()) };
            self.note(shared, queue, kept);
            outcome = Outcome { admitted: outcome.admitted || kept.admitted > 0, more: kept.more };
            if !kept.more {
                break;
            }
        }
        Ok(outcome)
    }

    fn note(&self, shared: &Shared, queue: &str, kept: Kept) {
        shared.gates.found(queue, kept.gated, kept.full);
        if !kept.gated {
            // Tasks may have arrived that lanes were not told of.
            shared.wake();
        }
        let next_in = if kept.more { Some(0.0) } else { kept.next_in };
        let next = next_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        match next {
            Some(next) => self.times().rooms.insert(queue.to_owned(), Instant::now() + next),
            None => self.times().rooms.remove(queue),
        };
    }
}

#[derive(Default)]
struct Outcome {
    admitted: bool,
    /// Not all was done.
    more: bool,
}

impl Service for Gatekeeper {
    const NAME: &'static str = "gatekeeper";

    async fn run_once(&self, shared: &Shared) -> sqlx::Result<Duration> {
        let began = Instant::now();
        let mut due = shared.gates.take_due();
        let (all, look_back) = {
            let mut times = self.times();
            if due.all {
                (times.all, times.look_back) = (began, began);
            }
            let (now, later) = std::mem::take(&mut times.rooms).into_iter().partition(|(_, at)| *at <= began);
            times.rooms = later;
            due.queues.extend(HashMap::<String, Instant>::into_keys(now));
            (times.all <= began, times.look_back <= began)
        };
        if all {
            due.queues.extend(self.look_around(shared, look_back).await?);
        }
        // While the worker polls, nobody notifies it of tasks.
        let polls = shared.idle.mode() == Mode::Polling;
        if polls {
            due.queues.extend(shared.gates.open());
        }
        let (mut outcome, mut failed, mut refused) = (Outcome::default(), Vec::new(), None);
        for queue in due.queues {
            match self.keep(shared, &queue, look_back && all).await {
                Ok(kept) => {
                    outcome.admitted |= kept.admitted;
                    outcome.more |= kept.more;
                }
                Err(error) if is_passing(&error) => return Err(error),
                // The other queues go on.
                Err(error) => {
                    tracing::error!(queue, %error, "tasks of a gated queue can't be admitted");
                    failed.push(queue);
                    refused = Some(error);
                }
            }
        }
        let now = Instant::now();
        let mut times = self.times();
        times.failed = failed;
        if all && !outcome.more {
            times.all = now + ALL_EVERY;
            if look_back {
                times.look_back = now + LOOK_BACK_EVERY;
            }
        }
        if let Some(error) = refused {
            return Err(error);
        }
        // Whoever calls in vain again and again does not keep the database busy with it.
        let took = now - began;
        times.rest = if outcome.admitted || outcome.more { now } else { now + took };
        let mut next = times.rooms.values().copied().fold(times.all, Instant::min);
        if polls && !shared.gates.open().is_empty() {
            next = next.min(now + POLL_EVERY.max(took * POLL_SHARE));
        }
        let next = next.max(times.rest);
        Ok(next.saturating_duration_since(now))
    }

    async fn woken(&self, shared: &Shared) {
        let rest = self.times().rest;
        tokio::time::sleep_until(rest.into()).await;
        shared.gates.news().await;
    }

    /// Tasks that the database refuses to move are found first; where that is not the reason,
    /// the queue is set aside.
    const PARTS: &'static [&'static str] = &["gatekeeper/tasks", "gatekeeper"];

    async fn choose(&self, shared: &Shared, part: &str) -> sqlx::Result<Vec<String>> {
        let failed = self.times().failed.clone();
        if part == "gatekeeper" {
            return Ok(failed);
        }
        let mut ids = Vec::new();
        for queue in failed {
            ids.extend(texts(front(&shared.pool, &queue).await?));
        }
        Ok(ids)
    }

    async fn process(&self, shared: &Shared, part: &str, ids: Vec<String>) -> sqlx::Result<()> {
        if part == "gatekeeper/tasks" {
            return try_moves(&shared.pool, &tasks(&ids)).await;
        }
        for queue in ids {
            keep(&shared.pool, &queue, false, true).await?;
        }
        Ok(())
    }
}
