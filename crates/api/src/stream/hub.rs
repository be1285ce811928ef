//! Which tasks are streamed, and the newest state of each.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use longhaul_telemetry::Metrics;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::event::Event;
use super::source;
use super::topics::{Shared, Topic};

/// Hands changes of tasks to everyone who streams them.
///
/// Only tasks that someone streams are tracked. Of each there is one state, the
/// newest: who reads slowly skips what came between, and nothing queues up.
pub(crate) struct Hub {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

/// One client's place in a task's stream; ends with this value.
pub(crate) struct Subscription {
    shared: Arc<Shared>,
    task: Uuid,
    number: u64,
    newest: watch::Receiver<Arc<Event>>,
}

impl Hub {
    /// A hub whose source of changes runs on the current tokio runtime until the
    /// hub is closed or dropped. It opens no connection before the first
    /// subscription.
    pub(crate) fn start(pool: PgPool, listen_pool: PgPool, base_url: String, poll: Duration, metrics: Metrics) -> Self {
        let closed = CancellationToken::new();
        let shared = Arc::new(Shared {
            pool,
            metrics,
            listen_pool,
            watcher: Uuid::now_v7(),
            base_url,
            poll,
            topics: Mutex::default(),
            work: Notify::new(),
            begun: Notify::new(),
            closed: closed.clone(),
        });
        tokio::spawn(source::listen(Arc::clone(&shared)));
        tokio::spawn(source::read(Arc::clone(&shared)));
        Self { shared, _stop: closed.drop_guard() }
    }

    /// Ends every stream, for good: the server stops.
    pub(crate) fn close(&self) {
        self.shared.closed.cancel();
    }

    /// Streams a task on from `state`, which its caller has just learned.
    /// Returns where the stream begins: that state, or the one that others who
    /// stream the task were sent last, so that nobody sees it fall back.
    pub(crate) fn subscribe(&self, task: Uuid, id_prefix: &'static str, state: Event) -> (Arc<Event>, Subscription) {
        let mut topics = self.shared.topics();
        topics.next_number += 1;
        let number = topics.next_number;
        let topic = topics.by_task.entry(task).or_insert_with(|| Topic {
            number,
            id_prefix,
            newest: watch::Sender::new(Arc::new(state)),
            subscribers: 0,
            watched: false,
            due: false,
            read_at: Instant::now(),
        });
        topic.subscribers += 1;
        topic.due = true;
        let mut newest = topic.newest.subscribe();
        let first = Arc::clone(&newest.borrow_and_update());
        let subscription = Subscription { shared: Arc::clone(&self.shared), task, number: topic.number, newest };
        drop(topics);
        self.shared.begun.notify_one();
        self.shared.work.notify_one();
        (first, subscription)
    }

    /// Cancelled when every stream ends.
    pub(crate) fn closed(&self) -> CancellationToken {
        self.shared.closed.clone()
    }
}

impl Subscription {
    /// Waits for a state newer than the last one, or the same with more lines in
    /// its log; `None` if the task has been flushed. What came between is skipped.
    pub(crate) async fn next(&mut self) -> Option<Arc<Event>> {
        self.newest.changed().await.ok()?;
        Some(Arc::clone(&self.newest.borrow_and_update()))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut topics = self.shared.topics();
        let Some(topic) = topics.by_task.get_mut(&self.task).filter(|topic| topic.number == self.number) else {
            return;
        };
        topic.subscribers -= 1;
        if topic.subscribers == 0 {
            topics.remove(self.task);
            drop(topics);
            self.shared.work.notify_one();
        }
    }
}
