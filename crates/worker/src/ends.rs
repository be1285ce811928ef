//! Ended attempts on their way to the database.

use std::collections::HashMap;
use std::sync::Arc;

use longhaul_model::problem::{NOT_STORABLE, Problem};
use longhaul_model::store::finish::{AttemptEnd, LeaseChanges, Verdict, finish};
use longhaul_model::store::is_unavailable;
use longhaul_model::store::progress::{ProgressWrite, last_words};
use sqlx::PgConnection;

use crate::endings::Endings;
use crate::lane::Shared;

/// Counts what each lease still has at work, and keeps ended attempts until the
/// database has them.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    endings: Arc<Endings>,
    waiting: Vec<AttemptEnd>,
    /// What some of those have to say first.
    last_words: Vec<ProgressWrite>,
    /// Tasks of each lease that have not ended, by lease number.
    open: HashMap<i64, usize>,
}

impl Ends {
    /// None yet; those that are stored are counted there.
    pub(crate) fn counted_by(endings: Arc<Endings>) -> Self {
        Self { endings, ..Self::default() }
    }

    pub(crate) fn claimed(&mut self, lease_number: i64, tasks: usize) {
        self.open.insert(lease_number, tasks);
    }

    pub(crate) fn push(&mut self, end: AttemptEnd) {
        self.waiting.push(end);
    }

    /// What an attempt has to say before its end, which was pushed.
    pub(crate) fn say(&mut self, last_words: Option<Box<ProgressWrite>>) {
        self.last_words.extend(last_words.map(|words| *words));
    }

    /// An attempt whose outcome is not to be stored.
    pub(crate) fn dropped(&mut self, lease_number: i64) {
        if let Some(open) = self.open.get_mut(&lease_number) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                self.open.remove(&lease_number);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The worker has become another one: what ran under the old id is no
    /// longer its own.
    pub(crate) fn forget(&mut self) {
        self.waiting.clear();
        self.last_words.clear();
        self.open.clear();
    }

    /// Writes what waits. What can't be written now, because the database is
    /// away, waits on. An end that the database refuses (not just now) is turned
    /// into a failure that it can take, so that it holds up nobody.
    pub(crate) async fn flush(
        &mut self,
        shared: &Shared,
        connection: &mut PgConnection,
        worker_id: i32,
    ) -> sqlx::Result<()> {
        self.write_last_words(shared, connection, worker_id).await?;
        let ends = std::mem::take(&mut self.waiting);
        let result = self.write(connection, worker_id, &ends).await;
        match result {
            Ok(()) => Ok(()),
            Err(error) if is_unavailable(&error) => {
                self.waiting = ends;
                Err(error)
            }
            Err(error) if ends.len() > 1 => {
                tracing::warn!(%error, "a batch of outcomes was refused; trying them one by one");
                let mut rest = ends.into_iter();
                while let Some(end) = rest.next() {
                    self.waiting.push(end);
                    if let Err(error) = Box::pin(self.flush(shared, connection, worker_id)).await {
                        self.waiting.extend(rest);
                        return Err(error);
                    }
                }
                Ok(())
            }
            Err(error) => self.write(connection, worker_id, &unstorable(ends, &error)).await,
        }
    }

    /// Before the ends, after which nothing can be said, and after the flush under way,
    /// which may have older words of the same attempts. Words that the database refuses
    /// (not just now) are lost: they hold up no end.
    async fn write_last_words(
        &mut self,
        shared: &Shared,
        connection: &mut PgConnection,
        worker_id: i32,
    ) -> sqlx::Result<()> {
        if self.last_words.is_empty() {
            return Ok(());
        }
        let _in_order = shared.flushing.lock().await;
        match last_words(&mut *connection, worker_id, &self.last_words).await {
            Ok(_fenced) => self.last_words.clear(),
            Err(error) if is_unavailable(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "a batch of last words was refused; trying them one by one");
                while let Some(words) = self.last_words.pop() {
                    match last_words(&mut *connection, worker_id, std::slice::from_ref(&words)).await {
                        Ok(_fenced) => {}
                        Err(error) if is_unavailable(&error) => {
                            self.last_words.push(words);
                            return Err(error);
                        }
                        Err(error) => {
                            tracing::error!(task = %words.id, %error, "the last lines of a task's log can't be stored");
                        }
                    }
                }
            }
        }
        Ok(())
    }

    async fn write(&mut self, connection: &mut PgConnection, worker_id: i32, ends: &[AttemptEnd]) -> sqlx::Result<()> {
        let leases = self.lease_changes(ends);
        let changed = finish(connection, worker_id, ends, &leases).await?;
        for end in ends.iter().filter(|end| changed.len() == ends.len() || changed.contains(&end.id)) {
            self.endings.count(end.verdict.state());
        }
        if changed.len() < ends.len() {
            tracing::warn!(
                ended = ends.len(),
                stored = changed.len(),
                "some outcomes were fenced off: their lease is gone or someone else ended the task"
            );
        }
        for end in ends {
            self.dropped(end.lease_number);
        }
        Ok(())
    }

    fn lease_changes(&self, ends: &[AttemptEnd]) -> LeaseChanges {
        let mut ended: HashMap<i64, (usize, bool)> = HashMap::new();
        for end in ends {
            let (count, goes_on) = ended.entry(end.lease_number).or_default();
            *count += 1;
            *goes_on |= !end.verdict.state().is_end();
        }
        let mut leases = LeaseChanges::default();
        for (number, (count, goes_on)) in ended {
            if self.open.get(&number).is_none_or(|open| *open <= count) {
                leases.emptied.push(number);
            } else if goes_on {
                leases.shortened.push(number);
            }
        }
        leases
    }
}

/// The same ends, without anything that the database could refuse.
fn unstorable(ends: Vec<AttemptEnd>, error: &sqlx::Error) -> Vec<AttemptEnd> {
    ends.into_iter()
        .map(|mut end| {
            tracing::error!(task = %end.id, %error, "the outcome could not be stored");
            end.checkpoint = None;
            end.progress.message = None;
            let problem = Problem::new(
                NOT_STORABLE,
                "The handler's outcome could not be stored; the log names the cause under this task's id.",
            );
            end.verdict = Verdict::Failed(problem, None);
            end
        })
        .collect()
}
