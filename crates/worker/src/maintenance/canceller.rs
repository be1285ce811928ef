//! Stops tasks that were cancelled when the notification got lost.

use std::time::Duration;

use longhaul_model::StopReason;
use longhaul_model::store::cancel::requested;

use super::Service;
use crate::lane::Shared;

/// Looks once a second whether one of the tasks at work is to stop. Usually a
/// notification has said so long before.
pub(crate) struct Canceller;

impl Service for Canceller {
    const NAME: &'static str = "canceller";

    async fn run_once(&self, shared: &Shared) -> sqlx::Result<Duration> {
        let ids: Vec<_> = shared.in_flight.all().iter().map(|attempt| attempt.id()).collect();
        if !ids.is_empty() {
            for id in requested(&shared.pool, &ids).await? {
                if let Some(attempt) = shared.in_flight.get(id) {
                    attempt.stop(StopReason::Cancelled);
                }
            }
        }
        Ok(Duration::from_secs(1))
    }
}
