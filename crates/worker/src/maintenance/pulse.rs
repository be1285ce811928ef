//! Records the queue statistics of the last minutes, for the overview.

use std::time::Duration;

use longhaul_model::store::leader::lead;
use longhaul_model::store::overview::{Ended, add, sample, sample_these, to_sample};

use tokio::sync::Mutex;

use super::Service;
use super::streak::Streak;
use crate::shared::Shared;

/// Adds what this process has ended to its row of the minute, and says whether its lanes
/// fail.
#[derive(Default)]
pub(crate) struct Counter {
    lanes: Mutex<Streak>,
}

/// Samples every queue once a minute, one worker at a time.
pub(crate) struct Sampler;

const EVERY: Duration = Duration::from_secs(2);
const LANES_FAIL: &str = "claims or completion writes fail; the worker's log has the errors";
const MINUTE_MS: i64 = 60_000;
/// A minute is sampled so long after its end: what was accepted in it has been
/// committed by then.
const LATE_MS: i64 = 2_000;

impl Service for Counter {
    const NAME: &'static str = "counter";

    async fn run_once(&self, shared: &Shared) -> sqlx::Result<Duration> {
        write_down(shared).await?;
        let failures = shared.lane_failures.longest();
        self.lanes.lock().await.is(failures, shared, "lanes", LANES_FAIL).await;
        Ok(EVERY)
    }
}

/// Writes down what was counted, if there is anything.
pub(crate) async fn write_down(shared: &Shared) -> sqlx::Result<()> {
    let ended = shared.outcome_counters.take();
    if ended == Ended::default() {
        return Ok(());
    }
    let written = add(&shared.pool, shared.identity.worker_id(), ended).await;
    if written.is_err() {
        shared.outcome_counters.put_back(ended);
    }
    written
}

impl Service for Sampler {
    const NAME: &'static str = "pulse";

    async fn run_once(&self, shared: &Shared) -> sqlx::Result<Duration> {
        let term = Duration::from_secs(130);
        let Some(lead) = lead(&shared.pool, Self::NAME, shared.identity.worker_id(), term).await? else {
            return Ok(Duration::from_secs(30));
        };
        sample(&shared.pool, lead.now_ms).await?;
        let into_minute = lead.now_ms.rem_euclid(MINUTE_MS);
        Ok(Duration::from_millis(u64::try_from(MINUTE_MS - into_minute + LATE_MS).unwrap_or(60_000)))
    }

    const PARTS: &'static [&'static str] = &["pulse"];

    async fn choose(&self, shared: &Shared, _part: &str) -> sqlx::Result<Vec<String>> {
        to_sample(&shared.pool).await
    }

    async fn process(&self, shared: &Shared, _part: &str, names: Vec<String>) -> sqlx::Result<()> {
        sample_these(&shared.pool, shared.clock.now_ms(), &names).await
    }
}
