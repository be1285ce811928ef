//! Ended attempts on their way to the database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_model::problem::{NOT_STORABLE, Problem};
use longhaul_model::store::finish::{AttemptEnd, AttemptOutcome, finish, unlocked};
use longhaul_model::store::progress::{ProgressWrite, last_words};
use longhaul_model::store::{LeaseKey, is_refusal, waited_for_lock};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::leases::Leases;
use crate::shared::Shared;

/// Keeps ended attempts until the database has them or their lease is gone, whatever happens.
/// An end is a fact: an error of the database delays it, and only a refusal of its data
/// changes it, into a failure that the database takes.
#[derive(Debug)]
pub(crate) struct FinishBuffer {
    leases: Arc<Leases>,
    waiting: Vec<AttemptEnd>,
    /// Ends of tasks whose rows another transaction has locked, or whose every end the
    /// database refuses; they are stored apart from the others, so that they keep none waiting.
    locked: Vec<AttemptEnd>,
    try_locked_at: Instant,
    /// What some of those have to say first.
    last_words: Vec<ProgressWrite>,
}

/// How long ends of locked tasks rest between two tries.
const LOCKED_REST: Duration = Duration::from_secs(1);

impl FinishBuffer {
    pub(crate) fn new(leases: Arc<Leases>) -> Self {
        Self { leases, waiting: Vec::new(), locked: Vec::new(), try_locked_at: Instant::now(), last_words: Vec::new() }
    }

    pub(crate) fn push(&mut self, end: AttemptEnd) {
        self.waiting.push(end);
    }

    /// What an attempt has to say before its end, which was pushed.
    pub(crate) fn say(&mut self, last_words: Option<Box<ProgressWrite>>) {
        self.last_words.extend(last_words.map(|words| *words));
    }

    /// How many ends can be tried now.
    pub(crate) fn due_now(&self) -> usize {
        self.waiting.len() + if Instant::now() >= self.try_locked_at { self.locked.len() } else { 0 }
    }

    /// Nothing waits, not even for a lock.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.locked.is_empty()
    }

    /// When the next try is due though nothing else happens.
    pub(crate) fn due(&self) -> Option<Instant> {
        if !self.waiting.is_empty() {
            Some(Instant::now())
        } else {
            (!self.locked.is_empty()).then_some(self.try_locked_at)
        }
    }

    /// The worker has become another one: what ran under the old id is no
    /// longer its own.
    pub(crate) fn forget(&mut self) {
        self.waiting.clear();
        self.locked.clear();
        self.last_words.clear();
    }

    /// Writes what waits. Whatever can't be written now waits on.
    pub(crate) async fn flush(
        &mut self,
        shared: &Shared,
        connection: &mut PgConnection,
        worker_id: i32,
    ) -> sqlx::Result<()> {
        if !self.locked.is_empty() && Instant::now() >= self.try_locked_at {
            self.waiting.append(&mut self.locked);
        }
        match self.write_all(shared, connection, worker_id).await {
            // The ends of tasks that are not locked go first.
            Err(error) if waited_for_lock(&error) => {
                self.set_locked_aside(connection, worker_id).await?;
                self.write_all(shared, connection, worker_id).await
            }
            result => result,
        }
    }

    async fn write_all(&mut self, shared: &Shared, connection: &mut PgConnection, worker_id: i32) -> sqlx::Result<()> {
        self.write_last_words(shared, connection, worker_id).await?;
        match self.write(shared, connection, worker_id, self.waiting.len()).await {
            Err(error) if is_refusal(&error) => {
                tracing::warn!(%error, "the database refused a batch of outcomes; storing them one by one");
                self.write_one_by_one(shared, connection, worker_id).await
            }
            result => result,
        }
    }

    /// An outcome whose data the database refuses is turned into a failure that it can take.
    async fn write_one_by_one(
        &mut self,
        shared: &Shared,
        connection: &mut PgConnection,
        worker_id: i32,
    ) -> sqlx::Result<()> {
        let mut refused = 0;
        while !self.waiting.is_empty() {
            match self.write(shared, connection, worker_id, 1).await {
                Ok(()) => refused = 0,
                Err(error) if is_refusal(&error) && refused == 0 => {
                    refused = 1;
                    if let Some(end) = self.waiting.first_mut() {
                        make_storable(end, &error);
                    }
                }
                // Refused even so: it is tried again apart from the others, and stops no lane.
                Err(error) if is_refusal(&error) => {
                    tracing::error!(task = %self.waiting[0].id, %error, "the failure of a task could not be stored \
                        either");
                    self.locked.push(self.waiting.remove(0));
                    self.try_locked_at = Instant::now() + LOCKED_REST;
                    refused = 0;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes the first `count` ends; they wait on if that fails.
    async fn write(
        &mut self,
        shared: &Shared,
        connection: &mut PgConnection,
        worker_id: i32,
        count: usize,
    ) -> sqlx::Result<()> {
        let ends = &self.waiting[..count];
        if ends.is_empty() {
            return Ok(());
        }
        let changes = self.leases.changes(worker_id, ends);
        let changed = finish(connection, worker_id, ends, &changes).await?;
        let whole = changed.len() == ends.len();
        let stored = |end: &&AttemptEnd| whole || changed.contains(&end.id);
        for end in ends.iter().filter(stored) {
            shared.outcome_counters.count(end.verdict.state());
        }
        self.leases.ended(worker_id, ends.iter().filter(stored));
        if !whole {
            tracing::warn!(
                ended = ends.len(),
                stored = changed.len(),
                "some outcomes were dropped by the fence: the lease is gone, or another process completed the task"
            );
            for end in ends.iter().filter(|end| !stored(end)) {
                self.leases.gave_up(LeaseKey { worker_id, number: end.lease_number }, end.id);
            }
        }
        self.waiting.drain(..count);
        Ok(())
    }

    async fn set_locked_aside(&mut self, connection: &mut PgConnection, worker_id: i32) -> sqlx::Result<()> {
        let all: Vec<(i64, Uuid)> = self.waiting.iter().map(|end| (end.lease_number, end.id)).collect();
        let free = unlocked(connection, worker_id, &all).await?;
        let (free, locked): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|end| free.contains(&end.id));
        tracing::warn!(
            locked = locked.len(),
            others = free.len(),
            first = locked.first().map(|end| tracing::field::display(end.id)),
            "another transaction has locked tasks whose outcomes are to be stored; retrying"
        );
        self.waiting = free;
        self.locked.extend(locked);
        self.try_locked_at = Instant::now() + LOCKED_REST;
        Ok(())
    }

    /// Before the ends, after which nothing can be said, and after the flush under way,
    /// which may have older words of the same attempts. Words of ends that wait for a lock
    /// wait with them. Words that the database refuses are lost: they hold up no end.
    async fn write_last_words(
        &mut self,
        shared: &Shared,
        connection: &mut PgConnection,
        worker_id: i32,
    ) -> sqlx::Result<()> {
        let locked = &self.locked;
        // Those that are written now come first. They stay here until the database has them.
        self.last_words.sort_by_key(|words| locked.iter().any(|end| end.id == words.id));
        let now = self.last_words.iter().take_while(|words| locked.iter().all(|end| end.id != words.id)).count();
        if now == 0 {
            return Ok(());
        }
        let _in_order = shared.flushing.lock().await;
        match last_words(&mut *connection, worker_id, &self.last_words[..now]).await {
            Ok(_fenced) => {
                self.last_words.drain(..now);
            }
            Err(error) if is_refusal(&error) => {
                tracing::warn!(%error, "the database refused a batch of last log lines; storing them one by one");
                for _ in 0..now {
                    match last_words(&mut *connection, worker_id, &self.last_words[..1]).await {
                        Ok(_fenced) => {}
                        Err(error) if is_refusal(&error) => {
                            let task = self.last_words[0].id;
                            tracing::error!(%task, %error, "the last lines of a task's log can't be stored");
                        }
                        Err(error) => return Err(error),
                    }
                    self.last_words.remove(0);
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The same end, without anything that the database could refuse.
fn make_storable(end: &mut AttemptEnd, error: &sqlx::Error) {
    tracing::error!(task = %end.id, %error, "the outcome could not be stored");
    end.checkpoint = None;
    end.progress.message = None;
    let problem = Problem::new(
        NOT_STORABLE,
        "The handler's outcome could not be stored; the worker's log has the cause under this task's id.",
    );
    end.verdict = AttemptOutcome::Failed(problem, None);
}
