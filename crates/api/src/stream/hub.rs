//! Which tasks are streamed, and the newest state of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longhaul_model::store::read::Task;
use longhaul_telemetry::Metrics;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{Event, source};
use crate::TaskBody;

/// Hands changes of tasks to everyone who streams them.
///
/// Only tasks that someone streams are tracked. Of each there is one state, the
/// newest: who reads slowly skips what came between, and nothing queues up.
pub(crate) struct Hub {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

/// What the hub, its source of changes and the subscriptions share.
pub(super) struct Shared {
    pub(super) pool: PgPool,
    pub(super) metrics: Metrics,
    /// What LISTEN connects like.
    pub(super) listen_pool: PgPool,
    /// This process in `longhaul.watched`.
    pub(super) watcher: Uuid,
    base_url: String,
    topics: Mutex<Topics>,
    /// There is something for the source to do.
    pub(super) work: Notify,
    /// The first subscription has come.
    pub(super) begun: Notify,
    pub(super) closed: CancellationToken,
}

#[derive(Default)]
struct Topics {
    by_task: HashMap<Uuid, Topic>,
    /// Still in `longhaul.watched`, but nobody streams them any more.
    left: Vec<Uuid>,
    next_number: u64,
}

struct Topic {
    /// Tells this topic from a later one of the same task.
    number: u64,
    id_prefix: &'static str,
    newest: watch::Sender<Arc<Event>>,
    subscribers: usize,
    /// It is in `longhaul.watched`.
    watched: bool,
    /// It may have changed since it was read.
    due: bool,
    read_at: Instant,
}

/// What the source has to do next, taken from the hub.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) enter: Vec<Uuid>,
    pub(super) strike: Vec<Uuid>,
    pub(super) read: Vec<Uuid>,
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
    pub(crate) fn start(pool: PgPool, listen_pool: PgPool, base_url: String, metrics: Metrics) -> Self {
        let closed = CancellationToken::new();
        let shared = Arc::new(Shared {
            pool,
            metrics,
            listen_pool,
            watcher: Uuid::now_v7(),
            base_url,
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

impl Topics {
    fn remove(&mut self, task: Uuid) {
        if self.by_task.remove(&task).is_some() {
            self.left.push(task);
        }
    }

    fn open(&mut self) -> impl Iterator<Item = (&Uuid, &mut Topic)> {
        self.by_task.iter_mut().filter(|(_, topic)| !topic.newest.borrow().is_final())
    }
}

impl Shared {
    fn topics(&self) -> MutexGuard<'_, Topics> {
        // Every section leaves the map whole, panic or not.
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These tasks have changed; those that nobody streams are passed over.
    pub(super) fn mark_changed(&self, tasks: impl Iterator<Item = Uuid>) {
        let mut topics = self.topics();
        let mut any = false;
        for task in tasks {
            if let Some(topic) = topics.by_task.get_mut(&task) {
                topic.due = true;
                any = true;
            }
        }
        if any {
            self.work.notify_one();
        }
    }

    /// What was not read within this time is to be read.
    pub(super) fn mark_older_than(&self, age: Duration) {
        for (_, topic) in self.topics().open() {
            topic.due |= topic.read_at.elapsed() >= age;
        }
    }

    /// Notifications may have been lost, and `longhaul.watched` with them.
    pub(super) fn mark_all(&self) {
        for (_, topic) in self.topics().open() {
            topic.due = true;
            topic.watched = false;
        }
        self.work.notify_one();
    }

    /// Takes what is to be done now.
    pub(super) fn take_work(&self) -> Work {
        let mut topics = self.topics();
        let mut work = Work::default();
        for (task, topic) in topics.open() {
            if !std::mem::replace(&mut topic.watched, true) {
                work.enter.push(*task);
            }
            if std::mem::take(&mut topic.due) {
                work.read.push(*task);
            }
        }
        let Topics { by_task, left, .. } = &mut *topics;
        work.strike = left.drain(..).filter(|task| !by_task.contains_key(task)).collect();
        work
    }

    /// The database failed: it is all still to be done.
    pub(super) fn give_back(&self, work: Work) {
        let mut topics = self.topics();
        for task in work.enter {
            if let Some(topic) = topics.by_task.get_mut(&task) {
                topic.watched = false;
            }
        }
        for task in work.read {
            if let Some(topic) = topics.by_task.get_mut(&task) {
                topic.due = true;
            }
        }
        topics.left.extend(work.strike);
    }

    /// Hands on what was read of `asked`. What is missing was flushed: its
    /// streams end.
    pub(super) fn publish(&self, asked: &[Uuid], tasks: Vec<Task>) {
        let mut topics = self.topics();
        let mut missing: std::collections::HashSet<Uuid> = asked.iter().copied().collect();
        for task in tasks {
            missing.remove(&task.id);
            let Some(topic) = topics.by_task.get_mut(&task.id) else { continue };
            topic.read_at = Instant::now();
            let logged = task.logged;
            let event = match Event::of(&TaskBody::new(task, topic.id_prefix, &self.base_url), logged) {
                Ok(event) => event,
                Err(error) => {
                    tracing::error!(%error, "a task's body could not be written as JSON");
                    continue;
                }
            };
            topic.newest.send_if_modified(|newest| {
                let changed = newest.id() != event.id() || newest.logged() != event.logged();
                if changed {
                    *newest = Arc::new(event);
                }
                changed
            });
        }
        for task in missing {
            topics.remove(task);
        }
    }
}
