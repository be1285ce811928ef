//! Stops tasks that were cancelled when the notification got lost.

use std::time::Duration;

use longhaul_model::StopReason;
use longhaul_model::store::cancel::{requested, requested_of_all};
use longhaul_model::uuid::Uuid;

use super::{Service, tasks, texts};
use crate::shared::Shared;

/// Looks once a second whether one of the tasks at work is to stop. Usually a
/// notification has said so long before.
pub(crate) struct Canceller;

impl Service for Canceller {
    const NAME: &'static str = "canceller";

    async fn run_once(&self, shared: &Shared) -> sqlx::Result<Duration> {
        let ids = at_work(shared);
        if !ids.is_empty() {
            stop(shared, &requested_of_all(&shared.pool, &ids).await?);
        }
        Ok(Duration::from_secs(1))
    }

    const PARTS: &'static [&'static str] = &["canceller"];

    async fn choose(&self, shared: &Shared, _part: &str) -> sqlx::Result<Vec<String>> {
        Ok(texts(at_work(shared)))
    }

    async fn process(&self, shared: &Shared, _part: &str, ids: Vec<String>) -> sqlx::Result<()> {
        stop(shared, &requested(&shared.pool, &tasks(&ids)).await?);
        Ok(())
    }
}

fn at_work(shared: &Shared) -> Vec<Uuid> {
    shared.in_flight.all().iter().map(|attempt| attempt.id()).collect()
}

fn stop(shared: &Shared, ids: &[Uuid]) {
    for attempt in ids.iter().filter_map(|id| shared.in_flight.get(*id)) {
        attempt.stop(StopReason::Cancelled);
    }
}
