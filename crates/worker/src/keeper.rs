//! Keeps the worker's leases alive by beating, and true by comparing them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_model::StopReason;
use longhaul_model::store::give_back::give_back;
use longhaul_model::store::worker::{WorkerInfo, beat, register};
use longhaul_model::store::{DEADLINE, within};
use tokio_util::sync::CancellationToken;

use crate::beat_try::{BeatTry, beat_try, late_limit};
use crate::shared::Shared;

/// The leases that the database has of this worker are compared with what it holds after so
/// many heartbeats.
const COMPARED_EVERY: u32 = 3;

/// Beats until `stop`. A worker that was presumed dead (it was stopped, or cut
/// off from the database) has lost everything it held: its handlers are told,
/// and it registers anew. `registered`: before it first did.
pub(crate) async fn run(shared: Arc<Shared>, info: WorkerInfo, registered: Instant, stop: CancellationToken) {
    let heartbeat = info.heartbeat;
    // When the last beat that was answered was sent; it arrived later.
    let mut heard = registered;
    let mut wait = heartbeat.saturating_sub(registered.elapsed());
    let mut beats = 0;
    let longest = heartbeat + DEADLINE * 3;
    let pulse = shared.metrics.vitals().watch("heartbeat", longest);
    loop {
        pulse.beat(longest);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let began = Instant::now();
        let BeatTry { limit, pause } = beat_try(heartbeat, began.duration_since(heard));
        if let Err(error) = run_once(&shared, &info, limit).await {
            tracing::warn!(%error, "the heartbeat failed; retrying");
            wait = pause.saturating_sub(began.elapsed());
            continue;
        }
        heard = began;
        beats += 1;
        // However long the rest takes, the next beat is not late.
        let next = heartbeat.saturating_sub(began.elapsed());
        let compared = tokio::select! {
            () = stop.cancelled() => return,
            compared = within(next.min(DEADLINE), compare(&shared, beats >= COMPARED_EVERY)) => compared,
        };
        match compared {
            Ok(()) if beats >= COMPARED_EVERY => beats = 0,
            Ok(()) => {}
            Err(error) => tracing::warn!(
                %error,
                "the worker's clock and leases could not be compared with those of the database; retrying"
            ),
        }
        wait = heartbeat.saturating_sub(began.elapsed());
    }
}

/// Beats within `limit`.
async fn run_once(shared: &Shared, info: &WorkerInfo, limit: Duration) -> sqlx::Result<()> {
    let worker_id = shared.identity.worker_id();
    if within(limit, beat(&shared.pool, worker_id)).await? {
        return Ok(());
    }
    let lost = shared.in_flight.stop(StopReason::LeaseLost, |attempt| attempt.lease().worker_id == worker_id);
    let anew = within(late_limit(info.heartbeat), register(&shared.pool, info)).await?;
    shared.identity.become_another(anew);
    shared.metrics.worker().presumed_dead();
    shared.wake_all();
    tracing::warn!(worker_id, anew, lost, "this worker was presumed dead; other workers have rescued its tasks");
    Ok(())
}

/// Compares the clocks, and the leases if it is time to.
async fn compare(shared: &Shared, leases_too: bool) -> sqlx::Result<()> {
    shared.clock.refresh(&shared.pool).await?;
    if leases_too { compare_leases(shared).await } else { Ok(()) }
}

/// Gives back what the database says this worker holds and it does not: the end of a task or
/// the return of a lease was lost.
async fn compare_leases(shared: &Shared) -> sqlx::Result<()> {
    let worker_id = shared.identity.worker_id();
    let given_back = give_back(&shared.pool, worker_id, || shared.leases.held_by(worker_id)).await?;
    if given_back > 0 {
        shared.metrics.worker().repaired(given_back);
        tracing::error!(
            tasks = given_back,
            "gave back tasks that were in this worker's leases but not held by the worker; this is a defect of \
             Longhaul, please report it"
        );
    }
    Ok(())
}
