//! What the hub, its source of changes and the subscriptions share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longhaul_model::store::read::Task;
use longhaul_telemetry::Metrics;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::event::Event;
use crate::TaskBody;

/// What the hub, its source of changes and the subscriptions share.
pub(super) struct Shared {
    pub(super) pool: PgPool,
    pub(super) metrics: Metrics,
    /// What LISTEN connects like.
    pub(super) listen_pool: PgPool,
    /// This process in `longhaul.watched`.
    pub(super) watcher: Uuid,
    pub(super) base_url: String,
    /// A topic is read this often even if no notification came for it. That covers lost notifications,
    /// changes without one (a claim), and databases without LISTEN, e.g. behind a pooler.
    pub(super) poll: Duration,
    pub(super) topics: Mutex<Topics>,
    /// There is something for the source to do.
    pub(super) work: Notify,
    /// The first subscription has come.
    pub(super) begun: Notify,
    pub(super) closed: CancellationToken,
}

#[derive(Default)]
pub(super) struct Topics {
    pub(super) by_task: HashMap<Uuid, Topic>,
    /// Still in `longhaul.watched`, but nobody streams them any more.
    left: Vec<Uuid>,
    pub(super) next_number: u64,
}

pub(super) struct Topic {
    /// Tells this topic from a later one of the same task.
    pub(super) number: u64,
    pub(super) id_prefix: &'static str,
    pub(super) newest: watch::Sender<Arc<Event>>,
    pub(super) subscribers: usize,
    /// It is in `longhaul.watched`.
    pub(super) watched: bool,
    /// It may have changed since it was read.
    pub(super) due: bool,
    pub(super) read_at: Instant,
}

/// What the source has to do next, taken from the hub.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) enter: Vec<Uuid>,
    pub(super) strike: Vec<Uuid>,
    pub(super) read: Vec<Uuid>,
}

impl Topics {
    pub(super) fn remove(&mut self, task: Uuid) {
        if self.by_task.remove(&task).is_some() {
            self.left.push(task);
        }
    }

    fn open(&mut self) -> impl Iterator<Item = (&Uuid, &mut Topic)> {
        self.by_task.iter_mut().filter(|(_, topic)| !topic.newest.borrow().is_final())
    }
}

impl Shared {
    pub(super) fn topics(&self) -> MutexGuard<'_, Topics> {
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
