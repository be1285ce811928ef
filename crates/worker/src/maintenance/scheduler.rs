//! Fires cron schedules.

use std::time::Duration;

use longhaul_model::store::cron::{due, fire, fire_these};

use super::Service;
use crate::shared::Shared;

/// Fires what is due and sleeps until the next due time of the database's clock,
/// at most a second, so that new schedules are seen. Every worker does it; the
/// row of a schedule is locked by whoever comes first.
pub(crate) struct Scheduler;

const LONGEST_WAIT: Duration = Duration::from_secs(1);
const SHORTEST_WAIT: Duration = Duration::from_millis(2);

impl Service for Scheduler {
    const NAME: &'static str = "scheduler";

    async fn run_once(&self, shared: &Shared) -> sqlx::Result<Duration> {
        let fired = fire(&shared.pool, shared.identity.worker_id()).await?;
        for (name, at) in &fired.skipped {
            tracing::warn!(schedule = name, until = %at, "missed firings were skipped");
        }
        for (name, problem) in &fired.broken {
            tracing::error!(
                schedule = name,
                problem,
                "the next firing of a schedule can't be computed; the schedule was set aside"
            );
        }
        if fired.more {
            return Ok(Duration::ZERO);
        }
        Ok(fired.next_in.unwrap_or(LONGEST_WAIT).clamp(SHORTEST_WAIT, LONGEST_WAIT))
    }

    const PARTS: &'static [&'static str] = &["scheduler"];

    async fn choose(&self, shared: &Shared, _part: &str) -> sqlx::Result<Vec<String>> {
        due(&shared.pool).await
    }

    async fn process(&self, shared: &Shared, _part: &str, names: Vec<String>) -> sqlx::Result<()> {
        fire_these(&shared.pool, shared.identity.worker_id(), &names).await
    }
}
