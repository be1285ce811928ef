//! One claim loop: claims, starts handlers, collects their ends, writes them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_model::store::claim::{Floors, claim};
use longhaul_model::store::finish::{AttemptEnd, Verdict};
use longhaul_model::store::progress::ProgressWrite;
use longhaul_model::store::rescue::release_lease;
use longhaul_model::store::{ClaimedTask, LeaseKey};
use longhaul_model::{Attempt, Limits, Progress};
use sqlx::PgPool;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::ends::Ends;
use crate::executor::Executor;
use crate::identity::Identity;
use crate::in_flight::InFlight;
use crate::pace::Pace;

/// What all lanes of a worker share.
pub(crate) struct Shared {
    pub(crate) pool: PgPool,
    pub(crate) identity: Identity,
    pub(crate) executor: Executor,
    pub(crate) in_flight: InFlight,
    pub(crate) poll_every: Duration,
    pub(crate) ageing: Option<Duration>,
    /// How much a task may keep.
    pub(crate) limits: Limits,
    /// No more claims; what runs may go on.
    pub(crate) stopping: CancellationToken,
    /// Every lane has ended.
    pub(crate) wakes: Vec<Notify>,
    /// Tasks ended that others wait for.
    pub(crate) followed: Notify,
}

impl Shared {
    /// Something became ready.
    pub(crate) fn wake(&self) {
        self.wakes.iter().for_each(Notify::notify_one);
    }
}

/// One claim loop with slots of its own.
pub(crate) struct Lane {
    shared: Arc<Shared>,
    number: usize,
    slots: usize,
    floors: Floors,
    pace: Pace,
    /// The worker's id that everything below belongs to.
    worker_id: i32,
    /// Claimed, waiting for a slot.
    waiting: VecDeque<ClaimedTask>,
    running: usize,
    ends: Ends,
    ended: mpsc::UnboundedReceiver<Ended>,
    end: mpsc::UnboundedSender<Ended>,
    /// A claim whose answer was lost: to be given back before the next one.
    unanswered: Option<LeaseKey>,
    /// There may be more to claim.
    hungry: bool,
}

/// One attempt is over, with its last words; `None` if its outcome is to be
/// dropped.
struct Ended {
    lease: LeaseKey,
    took: Duration,
    end: Option<(AttemptEnd, Option<ProgressWrite>)>,
}

/// Ends are written in batches of at most this many.
const ENDS_AT_ONCE: usize = 1_000;
/// The wait after the database failed, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Lane {
    pub(crate) fn new(shared: Arc<Shared>, number: usize, slots: usize, queues: Vec<String>) -> Self {
        let (end, ended) = mpsc::unbounded_channel();
        let worker_id = shared.identity.worker_id();
        let floors = Floors::new(queues, shared.ageing);
        Self {
            shared,
            number,
            slots,
            floors,
            pace: Pace::unknown(),
            worker_id,
            waiting: VecDeque::new(),
            running: 0,
            ends: Ends::default(),
            ended,
            end,
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
        self.shared.stopping.is_cancelled() && self.running == 0 && self.waiting.is_empty() && self.ends.is_empty()
    }

    async fn turn(&mut self) -> sqlx::Result<()> {
        self.notice_new_identity();
        if self.shared.stopping.is_cancelled() {
            self.release_waiting();
        }
        self.collect();
        self.start();
        if !self.ends.is_empty() {
            self.ends.flush(&self.shared.pool, self.worker_id).await?;
        }
        if self.claims_now() {
            self.claim().await?;
            self.start();
        }
        if self.ends.is_empty() && !self.claims_now() && !self.is_done() {
            self.sleep().await;
        }
        Ok(())
    }

    /// Until something ends, something is ready, or it is time to look.
    async fn sleep(&mut self) {
        let stopping = self.shared.stopping.is_cancelled();
        tokio::select! {
            biased;
            Some(ended) = self.ended.recv() => self.take(ended),
            () = self.shared.wakes[self.number].notified(), if !stopping => self.hungry = true,
            () = self.shared.stopping.cancelled(), if !stopping => {}
            () = tokio::time::sleep(self.shared.poll_every) => self.hungry = true,
        }
    }

    fn room(&self) -> usize {
        (self.slots + self.pace.ahead(self.slots)).saturating_sub(self.running + self.waiting.len())
    }

    fn claims_now(&self) -> bool {
        self.hungry && !self.shared.stopping.is_cancelled() && self.room() > 0
    }

    async fn claim(&mut self) -> sqlx::Result<()> {
        if let Some(lease) = self.unanswered {
            let released = release_lease(&self.shared.pool, lease).await?;
            tracing::info!(lane = self.number, released, "gave back a claim whose answer was lost");
            self.unanswered = None;
        }
        let room = self.room();
        let lease = self.shared.identity.next_lease();
        if lease.worker_id != self.worker_id {
            return Ok(()); // Noticed at the next turn.
        }
        let idle = self.running == 0 && self.waiting.is_empty();
        self.unanswered = Some(lease);
        let claimed = claim(&self.shared.pool, &mut self.floors, lease, room, idle).await?;
        self.unanswered = None;
        self.hungry = claimed.len() == room;
        if !claimed.is_empty() {
            self.ends.claimed(lease.number, claimed.len());
            self.waiting.extend(claimed);
        }
        Ok(())
    }

    fn start(&mut self) {
        while self.running < self.slots {
            let Some(task) = self.waiting.pop_front() else { return };
            self.running += 1;
            self.spawn(task);
        }
    }

    fn spawn(&self, task: ClaimedTask) {
        let prefix = self.shared.executor.registry.get(&task.type_name).map_or("", |entry| entry.info().id_prefix);
        let attempt = Arc::new(Attempt::begin(&task, prefix, CancellationToken::new()).with_limits(self.shared.limits));
        let (shared, end, running) = (Arc::clone(&self.shared), self.end.clone(), Arc::clone(&attempt));
        // The handler may end before `add`: it waits for this signal to begin.
        let (go, begin) = tokio::sync::oneshot::channel::<()>();
        let handle = tokio::spawn(async move {
            let _begun = begin.await;
            let (lease, began) = (task.lease, Instant::now());
            let outcome = shared.executor.run(task, Arc::clone(&running)).await;
            shared.in_flight.remove(&running);
            // The lane outlives its handlers; if it is gone, so is the worker.
            let _lane_gone = end.send(Ended { lease, took: began.elapsed(), end: outcome });
        });
        self.shared.in_flight.add(attempt, handle.abort_handle());
        let _aborted = go.send(());
    }

    fn collect(&mut self) {
        while self.ends.len() < ENDS_AT_ONCE {
            let Ok(ended) = self.ended.try_recv() else { return };
            self.take(ended);
        }
    }

    fn take(&mut self, ended: Ended) {
        self.running -= 1;
        self.pace.learn(ended.took);
        if ended.lease.worker_id != self.worker_id {
            return;
        }
        match ended.end {
            Some((end, last_words)) => {
                self.ends.push(end);
                self.ends.say(last_words);
            }
            None => self.ends.dropped(ended.lease.number),
        }
    }

    /// Claimed tasks that have not begun go back at once.
    fn release_waiting(&mut self) {
        for task in std::mem::take(&mut self.waiting) {
            self.ends.push(AttemptEnd {
                id: task.id,
                lease_number: task.lease.number,
                attempt: task.attempt,
                elapsed: Duration::ZERO,
                progress: Progress { ..task.progress },
                checkpoint: None,
                verdict: Verdict::Release,
            });
        }
    }

    /// The keeper has registered this worker anew: what it held is another's.
    fn notice_new_identity(&mut self) {
        let worker_id = self.shared.identity.worker_id();
        if worker_id != self.worker_id {
            self.worker_id = worker_id;
            self.waiting.clear();
            self.ends.forget();
            self.unanswered = None;
            self.floors.forget();
            self.hungry = true;
        }
    }
}
