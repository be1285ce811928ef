//! One claim loop: claims, starts handlers, collects their ends, writes them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_model::store::claim::{Ageing, Floors, claim};
use longhaul_model::store::rescue::release_lease;
use longhaul_model::store::{LeaseKey, Line};
use longhaul_model::{DatabaseClock, Limits};
use longhaul_telemetry::Metrics;
use sqlx::PgPool;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use crate::endings::Endings;
use crate::ends::Ends;
use crate::executor::Executor;
use crate::hands::Hands;
use crate::identity::Identity;
use crate::in_flight::InFlight;

/// What all lanes of a worker share.
pub(crate) struct Shared {
    pub(crate) pool: PgPool,
    pub(crate) identity: Identity,
    pub(crate) executor: Executor,
    pub(crate) in_flight: InFlight,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<DatabaseClock>,
    /// What was ended since it was last written down.
    pub(crate) endings: Arc<Endings>,
    pub(crate) poll_every: Duration,
    pub(crate) ageing: Option<Duration>,
    /// How much a task may keep.
    pub(crate) limits: Limits,
    /// Held while progress is read from attempts and written: their last words come
    /// after it.
    pub(crate) flushing: Mutex<()>,
    /// No more claims; what runs may go on.
    pub(crate) stopping: CancellationToken,
    /// Wakes one lane that sleeps and has room, or the next one that does.
    pub(crate) wake: Notify,
    /// Tasks ended that others wait for.
    pub(crate) followed: Notify,
}

impl Shared {
    /// Something became ready. One lane looks, since a second one would mostly look in
    /// vain and keep a processor from the first; if it finds all it has room for, it wakes
    /// the next. The one that went to sleep last looks: it and the server's process behind
    /// its connection are still warm (docs/performance.md).
    pub(crate) fn wake(&self) {
        self.wake.notify_last();
    }

    /// The worker is another one now.
    pub(crate) fn wake_all(&self) {
        self.wake.notify_waiters();
        self.wake.notify_one();
    }
}

/// One claim loop with slots of its own.
pub(crate) struct Lane {
    shared: Arc<Shared>,
    number: usize,
    line: Line,
    floors: Floors,
    /// The worker's id that everything below belongs to.
    worker_id: i32,
    hands: Hands,
    ends: Ends,
    /// A claim whose answer was lost: to be given back before the next one.
    unanswered: Option<LeaseKey>,
    /// There may be more to claim.
    hungry: bool,
}

/// The wait after the database failed, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Lane {
    pub(crate) fn new(shared: Arc<Shared>, number: usize, slots: usize, queues: Vec<String>) -> Self {
        let worker_id = shared.identity.worker_id();
        let ageing = shared.ageing.map(|patience| Ageing { patience, clock: Arc::clone(&shared.clock) });
        let floors = Floors::new(queues, ageing);
        Self {
            hands: Hands::new(Arc::clone(&shared), slots, worker_id),
            ends: Ends::counted_by(Arc::clone(&shared.endings)),
            line: Line::new(&shared.pool),
            shared,
            number,
            floors,
            worker_id,
            unanswered: None,
            hungry: true,
        }
    }

    /// Runs until the worker stops and everything this lane holds has ended.
    pub(crate) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        while !self.is_done() {
            match self.turn().await {
                Ok(()) => pause = FIRST_PAUSE,
                Err(error) => {
                    self.shared.metrics.worker().database_failed();
                    tracing::warn!(lane = self.number, %error, retry_in_ms = pause.as_millis(), "the database failed");
                    self.floors.forget();
                    self.hungry = true;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.shared.stopping.is_cancelled() && self.hands.are_empty() && self.ends.is_empty()
    }

    async fn turn(&mut self) -> sqlx::Result<()> {
        self.notice_new_identity();
        self.hands.collect();
        self.hands.start();
        self.take_ended();
        if !self.ends.is_empty() {
            let (began, ends) = (Instant::now(), self.ends.len());
            let mut connection = self.line.take().await?;
            let flush = self.ends.flush(&self.shared, &mut connection, self.worker_id);
            self.hands.work_until(flush).await?;
            self.line.keep(connection);
            self.shared.metrics.worker().finished(ends, began.elapsed());
        }
        if self.claims_now() {
            self.claim().await?;
            self.hands.start();
        }
        if self.ends.is_empty() && self.hands.has_none_ended() && !self.claims_now() && !self.is_done() {
            self.sleep().await;
        }
        Ok(())
    }

    /// Until something ends, something is ready, or it is time to look.
    async fn sleep(&mut self) {
        let stopping = self.shared.stopping.is_cancelled();
        let has_room = self.hands.room() > 0;
        let due = self.floors.due().filter(|_| !stopping && has_room);
        let wait =
            due.map_or(self.shared.poll_every, |due| due.duration_since(Instant::now()).min(self.shared.poll_every));
        tokio::select! {
            biased;
            () = self.hands.one_ends() => {}
            () = self.shared.wake.notified(), if !stopping && has_room => self.hungry = true,
            () = self.shared.stopping.cancelled(), if !stopping => {}
            () = tokio::time::sleep(wait) => self.floors.look_around(),
        }
    }

    fn claims_now(&self) -> bool {
        let due = self.floors.due().is_some_and(|due| due <= Instant::now());
        (self.hungry || due) && !self.shared.stopping.is_cancelled() && self.hands.room() > 0
    }

    async fn claim(&mut self) -> sqlx::Result<()> {
        if let Some(lease) = self.unanswered {
            let released = release_lease(&self.shared.pool, lease).await?;
            tracing::info!(lane = self.number, released, "gave back a claim whose answer was lost");
            self.unanswered = None;
        }
        let room = self.hands.room();
        let lease = self.shared.identity.next_lease();
        if lease.worker_id != self.worker_id {
            return Ok(()); // Noticed at the next turn.
        }
        let mut connection = self.line.take().await?;
        self.unanswered = Some(lease);
        let claim = claim(&mut *connection, &mut self.floors, lease, room);
        let began = Instant::now();
        let claimed = self.hands.work_until(claim).await?;
        self.line.keep(connection);
        self.shared.metrics.worker().claimed(claimed.len(), began.elapsed());
        self.unanswered = None;
        self.hungry = claimed.len() == room;
        if self.hungry {
            self.shared.wake();
        }
        if !claimed.is_empty() {
            self.ends.claimed(lease.number, claimed.len());
            self.hands.give(claimed);
        }
        Ok(())
    }

    fn take_ended(&mut self) {
        for ended in self.hands.ended() {
            match ended.end {
                _ if ended.lease.worker_id != self.worker_id => {}
                Some((end, last_words)) => {
                    self.ends.push(end);
                    self.ends.say(last_words);
                }
                None => self.ends.dropped(ended.lease.number),
            }
        }
        if self.shared.stopping.is_cancelled() {
            for end in self.hands.release_waiting() {
                self.ends.push(end);
            }
        }
    }

    /// The keeper has registered this worker anew: what it held is another's.
    fn notice_new_identity(&mut self) {
        let worker_id = self.shared.identity.worker_id();
        if worker_id != self.worker_id {
            self.worker_id = worker_id;
            self.hands.become_another(worker_id);
            self.ends.forget();
            self.unanswered = None;
            self.floors.forget();
            self.hungry = true;
        }
    }
}
