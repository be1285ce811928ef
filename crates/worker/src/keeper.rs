//! Keeps the worker's leases alive by beating.

use std::sync::Arc;
use std::time::Duration;

use longhaul_model::StopReason;
use longhaul_model::store::worker::{WorkerInfo, beat, register};
use tokio_util::sync::CancellationToken;

use crate::lane::Shared;

/// Beats until `stop`. A worker that was presumed dead (it was stopped, or cut
/// off from the database) has lost everything it held: its handlers are told,
/// and it registers anew.
pub(crate) async fn run(shared: Arc<Shared>, info: WorkerInfo, stop: CancellationToken) {
    let mut wait = info.heartbeat;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = match run_once(&shared, &info).await {
            Ok(()) => info.heartbeat,
            Err(error) => {
                tracing::warn!(%error, "the heartbeat failed; it is tried again");
                (info.heartbeat / 10).min(Duration::from_secs(1))
            }
        };
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
    tracing::warn!(worker_id, anew, lost, "this worker was presumed dead; its tasks are with others now");
    Ok(())
}
