//! Learns of changes: one LISTEN connection a process, and one query for all
//! tasks that may have changed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use longhaul_model::connect::Listener;
use longhaul_model::store::wakeup::{PROGRESS, changed_tasks};
use longhaul_model::store::{read as stored, watch};
use tokio::time::MissedTickBehavior;

use super::topics::{Shared, Work};

/// The least time between two queries, in which notifications gather.
const GATHER: Duration = Duration::from_millis(10);
/// The wait after the database failed.
const PAUSE: Duration = Duration::from_millis(250);
/// How long rows in `longhaul.watched` are good for.
const LIFETIME: Duration = Duration::from_secs(3600);
const REFRESH: Duration = Duration::from_secs(1200);
/// How long a query, or striking what was watched at the end, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens until the hub closes, from the first subscription on.
pub(super) async fn listen(shared: Arc<Shared>) {
    tokio::select! {
        () = shared.closed.cancelled() => return,
        () = shared.begun.notified() => {}
    }
    loop {
        tokio::select! {
            () = shared.closed.cancelled() => return,
            Err(error) = listen_once(&shared) => {
                shared.metrics.listen_lost("api");
                tracing::warn!(%error, "listening for progress failed; retrying");
            }
        }
        tokio::select! {
            () = shared.closed.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn listen_once(shared: &Shared) -> sqlx::Result<Infallible> {
    let mut listener = Listener::connect(&shared.listen_pool, &[PROGRESS]).await?;
    shared.mark_all();
    loop {
        match listener.next().await? {
            Some(notification) => shared.mark_changed(changed_tasks(notification.payload())),
            // Reconnected: what was told meanwhile is lost.
            None => {
                shared.metrics.listen_lost("api");
                shared.mark_all();
            }
        }
    }
}

/// Reads what may have changed until the hub closes.
pub(super) async fn read(shared: Arc<Shared>) {
    let mut fallback = tokio::time::interval(shared.poll);
    fallback.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut refresh = tokio::time::interval(REFRESH);
    loop {
        tokio::select! {
            () = shared.closed.cancelled() => break,
            () = shared.work.notified() => {}
            _ = fallback.tick() => shared.mark_older_than(shared.poll),
            _ = refresh.tick() => {
                shared.mark_all();
                purge(&shared).await;
            }
        }
        let work = shared.take_work();
        let done = tokio::time::timeout(PATIENCE, turn(&shared, &work)).await;
        let pause = match done {
            Ok(Ok(())) => GATHER,
            Ok(Err(error)) => {
                tracing::warn!(%error, tasks = work.read.len(), "streamed tasks could not be read; retrying");
                shared.give_back(work);
                shared.work.notify_one();
                PAUSE
            }
            Err(_) => {
                tracing::warn!(tasks = work.read.len(), "streamed tasks could not be read in time; retrying");
                shared.give_back(work);
                shared.work.notify_one();
                PAUSE
            }
        };
        tokio::select! {
            () = shared.closed.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    leave(&shared).await;
}

/// Enters before it reads, so that a change is either read or told.
async fn turn(shared: &Shared, work: &Work) -> sqlx::Result<()> {
    if !work.strike.is_empty() {
        watch::unwatch(&shared.pool, shared.watcher, &work.strike).await?;
    }
    if !work.enter.is_empty() {
        watch::watch(&shared.pool, shared.watcher, &work.enter, LIFETIME).await?;
    }
    if !work.read.is_empty() {
        let tasks = stored::tasks(&shared.pool, &work.read).await?;
        shared.publish(&work.read, tasks);
    }
    Ok(())
}

async fn purge(shared: &Shared) {
    match watch::purge(&shared.pool).await {
        Ok(0) => {}
        Ok(rows) => tracing::info!(rows, "deleted watched tasks of API processes that have ended"),
        Err(error) => {
            tracing::debug!(%error, "watched tasks of processes that have ended could not be deleted; retrying later")
        }
    }
}

/// What can't be struck now is struck by others, see [`LIFETIME`].
async fn leave(shared: &Shared) {
    match tokio::time::timeout(PAUSE, watch::leave(&shared.pool, shared.watcher)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the watched tasks of this process could not be deleted"),
        Err(_) => tracing::debug!("the watched tasks of this process could not be deleted in time"),
    }
}
