//! Writes the progress of everything that runs, a few times a second.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_model::problem::{NOT_STORABLE, Problem};
use longhaul_model::store::progress::{ProgressWrite, flush};
use longhaul_model::store::worker::still_held;
use longhaul_model::store::{DEADLINE, is_refusal, within};
use longhaul_model::{Attempt, StopReason};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::shared::Shared;

/// Attempts that have run for less are left to the next flush: most short tasks are
/// over by then. Writing that they run costs as much as their end, which waits
/// behind it for the row (docs/adr/0008-performance-history.md).
const YOUNG: Duration = Duration::from_millis(20);

/// However many attempts report, and however busy the database is, writing what they
/// report takes at most one part in so many of the time.
const REST: u32 = 10;
const LONGEST_REST: Duration = Duration::from_secs(2);

/// Runs until `stop`; the last state of an attempt is written with its end.
pub(crate) async fn run(shared: Arc<Shared>, every: Duration, stop: CancellationToken) {
    let mut rest = every;
    let longest = every + LONGEST_REST + DEADLINE * 2;
    let pulse = shared.metrics.vitals().watch("progress", longest);
    loop {
        pulse.beat(longest);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(rest) => {}
        }
        let began = Instant::now();
        if let Err(error) = within(DEADLINE, run_once(&shared)).await {
            tracing::warn!(%error, "progress could not be written; retrying");
        }
        rest = every.max((began.elapsed() * REST).min(LONGEST_REST));
    }
}

async fn run_once(shared: &Shared) -> sqlx::Result<()> {
    let worker_id = shared.identity.worker_id();
    let _in_order = shared.flushing.lock().await;
    let (attempts, writes): (Vec<Arc<Attempt>>, Vec<ProgressWrite>) = shared
        .in_flight
        .all()
        .into_iter()
        .filter(|attempt| attempt.lease().worker_id == worker_id && attempt.elapsed() >= YOUNG)
        .filter_map(|attempt| attempt.take_changes().map(|write| (attempt, write)))
        .unzip();
    if writes.is_empty() {
        return Ok(());
    }
    let began = Instant::now();
    let unwritten = Unwritten(&attempts);
    let written: HashSet<Uuid> = match flush(&shared.pool, worker_id, &writes).await {
        Ok(written) => written.into_iter().collect(),
        Err(error) if is_refusal(&error) => {
            // One of them can't be stored: the others must not suffer.
            tracing::warn!(%error, "the database refused a batch of progress; writing it task by task");
            write_one_by_one(shared, worker_id, &attempts, &writes).await?.into_iter().collect()
        }
        Err(error) => return Err(error),
    };
    shared.metrics.worker().flushed(writes.len(), began.elapsed());
    for (attempt, write) in attempts.iter().zip(&writes) {
        if written.contains(&attempt.id()) {
            attempt.stored(write);
        }
    }
    unwritten.forget();
    let missing: Vec<_> = attempts.into_iter().filter(|attempt| !written.contains(&attempt.id())).collect();
    if !missing.is_empty() {
        stop_the_lost(shared, worker_id, &missing).await?;
    }
    Ok(())
}

/// Attempts whose changes were taken to be written: until that is known to be done they count
/// as changed again, also if the run is given up in the middle.
struct Unwritten<'a>(&'a [Arc<Attempt>]);

impl Unwritten<'_> {
    fn forget(mut self) {
        self.0 = &[];
    }
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|attempt| attempt.mark_changed());
    }
}

/// Those that are refused have their attempts failed, or they would be refused
/// again and again.
async fn write_one_by_one(
    shared: &Shared,
    worker_id: i32,
    attempts: &[Arc<Attempt>],
    writes: &[ProgressWrite],
) -> sqlx::Result<Vec<Uuid>> {
    let mut written = Vec::new();
    for (attempt, write) in attempts.iter().zip(writes) {
        match flush(&shared.pool, worker_id, std::slice::from_ref(write)).await {
            Ok(ids) => written.extend(ids),
            Err(error) if !is_refusal(&error) => return Err(error),
            Err(error) => {
                tracing::error!(task = %write.id, %error, "progress can't be stored; the task fails");
                let detail = "The progress or checkpoint could not be stored; the worker's log has the cause under \
                    this task's id.";
                attempt.refuse(Problem::new(NOT_STORABLE, detail));
            }
        }
    }
    Ok(written)
}

/// What was not written has just ended, been taken away, or was locked, in which
/// case the next flush has it.
async fn stop_the_lost(shared: &Shared, worker_id: i32, missing: &[Arc<Attempt>]) -> sqlx::Result<()> {
    let tasks: Vec<(i64, Uuid)> = missing.iter().map(|attempt| (attempt.lease().number, attempt.id())).collect();
    let held = still_held(&shared.pool, worker_id, &tasks).await?;
    for attempt in missing {
        if held.contains(&attempt.id()) {
            attempt.mark_changed();
        } else {
            attempt.stop(StopReason::LeaseLost);
        }
    }
    Ok(())
}
