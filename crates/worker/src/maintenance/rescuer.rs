//! Puts back what dead workers held.

use std::time::Duration;

use longhaul_model::store::rescue::rescue;

use super::Service;
use crate::lane::Shared;

/// Looks for overdue heartbeats every fifth of this worker's own.
pub(crate) struct Rescuer {
    pub(crate) heartbeat: Duration,
}

impl Service for Rescuer {
    const NAME: &'static str = "rescuer";

    async fn run_once(&self, shared: &Shared) -> sqlx::Result<Duration> {
        let rescued = rescue(&shared.pool).await?;
        if !rescued.workers.is_empty() || rescued.requeued + rescued.ended > 0 {
            tracing::warn!(workers = ?rescued.workers, requeued = rescued.requeued, ended = rescued.ended, "rescued tasks of lost workers");
        }
        Ok(self.heartbeat / 5)
    }
}
