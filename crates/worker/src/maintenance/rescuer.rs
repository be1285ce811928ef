//! Rescues the tasks of dead workers.

use std::time::Duration;

use longhaul_model::store::rescue::look;
use longhaul_model::store::rescue_apart::{choose, put_back_these};

use super::{Service, tasks, texts};
use crate::shared::Shared;

/// Looks for overdue heartbeats every fifth of the shortest one in the fleet, but not more
/// than ten times as often as this worker's own would have it.
pub(crate) struct Rescuer {
    pub(crate) heartbeat: Duration,
}

impl Service for Rescuer {
    const NAME: &'static str = "rescuer";

    async fn run_once(&self, shared: &Shared) -> sqlx::Result<Duration> {
        let (rescued, shortest) = look(&shared.pool, self.heartbeat).await?;
        if !rescued.workers.is_empty() || rescued.requeued + rescued.ended > 0 {
            tracing::warn!(workers = ?rescued.workers, requeued = rescued.requeued, ended = rescued.ended, "rescued \
                tasks of dead workers");
        }
        if rescued.sessions > 0 {
            tracing::warn!(
                sessions = rescued.sessions,
                "ended sessions of dead workers that held their tasks in an open transaction"
            );
        }
        let shortest = shortest.unwrap_or(self.heartbeat);
        Ok(shortest.clamp(self.heartbeat / 10, self.heartbeat) / 5)
    }

    const PARTS: &'static [&'static str] = &["rescuer"];

    async fn choose(&self, shared: &Shared, _part: &str) -> sqlx::Result<Vec<String>> {
        choose(&shared.pool).await.map(texts)
    }

    async fn process(&self, shared: &Shared, _part: &str, ids: Vec<String>) -> sqlx::Result<()> {
        put_back_these(&shared.pool, &tasks(&ids)).await
    }
}
