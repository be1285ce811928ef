//! One claim loop: claims, starts handlers, collects their ends, writes them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_model::store::claim::{Ageing, Floors, claim};
use longhaul_model::store::rescue::release_lease;
use longhaul_model::store::{DEADLINE, LeaseKey, StickyConnection, within};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;

use crate::finish_buffer::FinishBuffer;
use crate::shared::Shared;
use crate::slots::Slots;

/// One claim loop with slots of its own.
pub(crate) struct Lane {
    shared: Arc<Shared>,
    number: usize,
    connection: StickyConnection,
    floors: Floors,
    /// The worker's id that everything below belongs to.
    worker_id: i32,
    slots: Slots,
    finish_buffer: FinishBuffer,
    /// A claim whose answer was lost, and that may still be carried out: its lease is to be
    /// forbidden and given back before the next claim.
    unanswered: Option<LeaseKey>,
    /// There may be more to claim.
    hungry: bool,
}

/// The wait after the database failed, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A turn waits for five statements or connections at most.
const LONGEST_TURN: Duration = DEADLINE.saturating_mul(6);

impl Lane {
    pub(crate) fn new(shared: Arc<Shared>, number: usize, slots: usize, queues: Vec<String>) -> Self {
        let worker_id = shared.identity.worker_id();
        let ageing = shared.ageing.map(|patience| Ageing { patience, clock: Arc::clone(&shared.clock) });
        let floors = Floors::new(queues, ageing);
        Self {
            slots: Slots::new(Arc::clone(&shared), slots, worker_id),
            finish_buffer: FinishBuffer::new(Arc::clone(&shared.leases)),
            connection: StickyConnection::new(&shared.pool),
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
        let pulse = self.shared.metrics.vitals().watch(format!("lane {}", self.number), LONGEST_TURN);
        let mut pause = FIRST_PAUSE;
        while !self.is_done() {
            pulse.beat(LONGEST_TURN);
            match self.turn().await {
                Ok(()) => pause = FIRST_PAUSE,
                Err(error) => {
                    self.shared.lane_failures.failed(self.number, &self.shared.metrics);
                    tracing::warn!(lane = self.number, %error, retry_in_ms = pause.as_millis(), "the database failed");
                    self.floors.forget();
                    self.hungry = true;
                    self.slots.work_until(tokio::time::sleep(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.shared.stopping.is_cancelled() && self.slots.are_empty() && self.finish_buffer.is_empty()
    }

    async fn turn(&mut self) -> sqlx::Result<()> {
        self.notice_new_identity();
        self.slots.collect();
        self.slots.start();
        self.take_ended();
        let ends = self.finish_buffer.due_now();
        if ends > 0 {
            let began = Instant::now();
            let mut connection = self.take_connection().await?;
            let flush = within(DEADLINE, self.finish_buffer.flush(&self.shared, &mut connection, self.worker_id));
            self.slots.work_until(flush).await?;
            self.connection.keep(connection);
            self.shared.metrics.worker().finished(ends, began.elapsed());
            self.shared.lane_failures.succeeded(self.number, &self.shared.metrics);
        }
        if self.claims_now() {
            self.claim().await?;
            self.slots.start();
        }
        if self.finish_buffer.due_now() == 0 && self.slots.has_none_ended() && !self.claims_now() && !self.is_done() {
            self.sleep().await;
        }
        Ok(())
    }

    /// Handlers are started and collected meanwhile.
    async fn take_connection(&mut self) -> sqlx::Result<PoolConnection<Postgres>> {
        self.slots.work_until(within(DEADLINE, self.connection.take())).await
    }

    /// Until something ends, something is ready, or it is time to look.
    async fn sleep(&mut self) {
        let stopping = self.shared.stopping.is_cancelled();
        let has_room = self.slots.room() > 0;
        let look_at = self.floors.due().filter(|_| !stopping && has_room);
        let due = look_at.into_iter().chain(self.finish_buffer.due()).min();
        let shared = Arc::clone(&self.shared);
        // Before it asks how long it may rest: whoever changes that wakes whoever rests.
        let woken = shared.wake.notified();
        let poll = shared.idle.poll_after().filter(|_| !stopping && has_room);
        let rest = poll.unwrap_or(self.shared.poll_every).min(self.shared.poll_every);
        let wait = due.map_or(rest, |due| due.duration_since(Instant::now()).min(rest));
        tokio::select! {
            biased;
            () = self.slots.one_ends() => {}
            () = woken, if !stopping && has_room => self.hungry = true,
            () = self.shared.stopping.cancelled(), if !stopping => {}
            () = tokio::time::sleep(wait) => match poll {
                Some(poll) if poll == wait => self.hungry = true,
                _ => self.floors.look_around(),
            },
        }
    }

    fn claims_now(&self) -> bool {
        let due = self.floors.due().is_some_and(|due| due <= Instant::now());
        (self.hungry || due) && !self.shared.stopping.is_cancelled() && self.slots.room() > 0
    }

    async fn claim(&mut self) -> sqlx::Result<()> {
        if let Some(lease) = self.unanswered {
            let release = within(DEADLINE, release_lease(&self.shared.pool, lease));
            let released = self.slots.work_until(release).await?;
            tracing::info!(lane = self.number, released, "gave back the tasks of a claim whose response was lost");
            self.shared.leases.gave_back(lease);
            self.unanswered = None;
        }
        let room = self.slots.room();
        let lease = self.shared.identity.next_lease();
        if lease.worker_id != self.worker_id {
            return Ok(()); // Noticed at the next turn.
        }
        let mut connection = self.take_connection().await?;
        self.shared.leases.claims(lease);
        self.unanswered = Some(lease);
        self.floors.beside_paused_types(self.shared.gates.types_are_paused());
        let claim = within(DEADLINE, claim(&mut *connection, &mut self.floors, lease, room));
        let began = Instant::now();
        let claimed = self.slots.work_until(claim).await?;
        self.connection.keep(connection);
        self.shared.metrics.worker().claimed(claimed.len(), began.elapsed());
        self.shared.lane_failures.succeeded(self.number, &self.shared.metrics);
        self.shared.metrics.vitals().become_ready();
        self.unanswered = None;
        self.hungry = claimed.len() == room;
        self.shared.idle.claimed(claimed.len(), self.hungry);
        if self.hungry {
            self.shared.wake();
        }
        self.shared.leases.claimed(lease, claimed.iter().map(|task| task.id));
        self.slots.give(claimed);
        Ok(())
    }

    fn take_ended(&mut self) {
        for ended in self.slots.ended() {
            match ended.end {
                _ if ended.lease.worker_id != self.worker_id => {}
                Some((end, last_words)) => {
                    self.finish_buffer.push(end);
                    self.finish_buffer.say(last_words);
                }
                None => self.shared.leases.gave_up(ended.lease, ended.id),
            }
        }
        if self.shared.stopping.is_cancelled() {
            for end in self.slots.release_waiting() {
                self.finish_buffer.push(end);
            }
        }
    }

    /// The keeper has registered this worker again: other workers have rescued its tasks.
    fn notice_new_identity(&mut self) {
        let worker_id = self.shared.identity.worker_id();
        if worker_id != self.worker_id {
            self.worker_id = worker_id;
            self.slots.become_another(worker_id);
            self.finish_buffer.forget();
            self.shared.leases.forget_all_but(worker_id);
            self.unanswered = None;
            self.floors.forget();
            self.hungry = true;
        }
    }
}
