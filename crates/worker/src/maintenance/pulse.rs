//! Writes down what the last minutes were like, for the overview.

use std::time::Duration;

use longhaul_model::store::leader::lead;
use longhaul_model::store::overview::{Ended, add, sample};

use super::Service;
use crate::lane::Shared;

/// Adds what this process has ended to its row of the minute.
pub(crate) struct Counter;

/// Samples every queue once a minute, one worker at a time.
pub(crate) struct Sampler;

const EVERY: Duration = Duration::from_secs(2);
const MINUTE_MS: i64 = 60_000;
/// A minute is sampled so long after its end: what was accepted in it has been
/// committed by then.
const LATE_MS: i64 = 2_000;

impl Service for Counter {
    const NAME: &'static str = "counter";

    async fn run_once(&self, shared: &Shared) -> sqlx::Result<Duration> {
        write_down(shared).await?;
        Ok(EVERY)
    }
}

/// Writes down what was counted, if there is anything.
pub(crate) async fn write_down(shared: &Shared) -> sqlx::Result<()> {
    let ended = shared.endings.take();
    if ended == Ended::default() {
        return Ok(());
    }
    let written = add(&shared.pool, shared.identity.worker_id(), ended).await;
    if written.is_err() {
        shared.endings.put_back(ended);
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
}
