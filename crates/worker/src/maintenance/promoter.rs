//! Makes due tasks ready.

use std::time::Duration;

use longhaul_model::store::schedule::{AT_ONCE, due, promote, promote_these};

use super::{Service, tasks, texts};
use crate::shared::Shared;

/// Moves tasks whose time has come; looks at least once a second, and sooner if
/// the next one is due sooner.
pub(crate) struct Promoter;

const LONGEST_WAIT: Duration = Duration::from_secs(1);
const SHORTEST_WAIT: Duration = Duration::from_millis(5);

impl Service for Promoter {
    const NAME: &'static str = "promoter";

    async fn run_once(&self, shared: &Shared) -> sqlx::Result<Duration> {
        let (moved, next_in_seconds) = promote(&shared.pool).await?;
        if moved >= AT_ONCE {
            return Ok(Duration::ZERO);
        }
        let next = next_in_seconds
            .map_or(LONGEST_WAIT, |seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(LONGEST_WAIT));
        Ok(next.clamp(SHORTEST_WAIT, LONGEST_WAIT))
    }

    const PARTS: &'static [&'static str] = &["promoter"];

    async fn choose(&self, shared: &Shared, _part: &str) -> sqlx::Result<Vec<String>> {
        due(&shared.pool).await.map(texts)
    }

    async fn process(&self, shared: &Shared, _part: &str, ids: Vec<String>) -> sqlx::Result<()> {
        promote_these(&shared.pool, &tasks(&ids)).await
    }
}
