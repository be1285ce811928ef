//! Keeps the worker's leases alive by beating, and true by comparing them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_model::StopReason;
use longhaul_model::store::give_back::give_back;
use longhaul_model::store::worker::{WorkerInfo, beat, register};
use longhaul_model::store::{DEADLINE, within};
use tokio_util::sync::CancellationToken;

use crate::shared::Shared;

/// The leases that the database has of this worker are compared with what it holds after so
/// many heartbeats.
const COMPARED_EVERY: u32 = 3;

/// Beats until `stop`. A worker that was presumed dead (it was stopped, or cut
/// off from the database) has lost everything it held: its handlers are told,
/// and it registers anew.
pub(crate) async fn run(shared: Arc<Shared>, info: WorkerInfo, stop: CancellationToken) {
    let mut wait = info.heartbeat;
    let mut beats = 0;
    // Time for a second try before the worker is presumed dead.
    let deadline = (info.heartbeat / 2).clamp(Duration::from_secs(1), DEADLINE);
    let longest = info.heartbeat + DEADLINE * 3;
    let pulse = shared.metrics.vitals().watch("heartbeat", longest);
    loop {
        pulse.beat(longest);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let began = Instant::now();
        let next = match within(deadline, run_once(&shared, &info)).await {
            Ok(()) => info.heartbeat,
            Err(error) => {
                tracing::warn!(%error, "the heartbeat failed; retrying");
                (info.heartbeat / 10).min(Duration::from_secs(1))
            }
        };
        beats += 1;
        if beats % COMPARED_EVERY == 0
            && let Err(error) = within(deadline, compare(&shared)).await
        {
            tracing::warn!(%error, "the worker's leases could not be compared with the tasks it holds; retrying");
        }
        // However long all of that took, the next beat is not late.
        wait = next.saturating_sub(began.elapsed());
    }
}

async fn run_once(shared: &Shared, info: &WorkerInfo) -> sqlx::Result<()> {
    let worker_id = shared.identity.worker_id();
    if beat(&shared.pool, worker_id).await? {
        return shared.clock.refresh(&shared.pool).await;
    }
    let lost = shared.in_flight.stop(StopReason::LeaseLost, |attempt| attempt.lease().worker_id == worker_id);
    let anew = register(&shared.pool, info).await?;
    shared.identity.become_another(anew);
    shared.metrics.worker().presumed_dead();
    shared.wake_all();
    tracing::warn!(worker_id, anew, lost, "this worker was presumed dead; other workers have rescued its tasks");
    Ok(())
}

/// Gives back what the database says this worker holds and it does not: the end of a task or
/// the return of a lease was lost.
async fn compare(shared: &Shared) -> sqlx::Result<()> {
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
