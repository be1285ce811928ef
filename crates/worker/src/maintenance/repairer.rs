//! Returns stranded tasks to the queue.

use std::time::{Duration, Instant};

use longhaul_model::serde_json;
use longhaul_model::store::leader::{lead, remember};
use longhaul_model::store::repair::{Inspection, SERVICE, prune, repair};
use longhaul_model::store::unsuccessful::{self, mend};

use super::{Service, tasks};
use crate::shared::Shared;

/// Walks through the tasks in bounded batches, one worker at a time, and repairs what is
/// stranded. The walk takes at most a hundredth of the time.
pub(crate) struct Repairer;

/// Tasks in one step of each walk.
const BATCH: i64 = 1_000;
const SHARE: u32 = 100;
const SHORTEST_REST: Duration = Duration::from_millis(500);
/// The rest after a whole round.
const ROUND: Duration = Duration::from_secs(10);
/// Of workers that do not lead.
const PATIENCE: Duration = Duration::from_secs(30);

impl Service for Repairer {
    const NAME: &'static str = "repairer";

    async fn run_once(&self, shared: &Shared) -> sqlx::Result<Duration> {
        let worker_id = shared.identity.worker_id();
        let Some(lead) = lead(&shared.pool, Self::NAME, worker_id, PATIENCE * 3).await? else {
            return Ok(PATIENCE);
        };
        let mut inspection: Inspection =
            lead.memo.and_then(|memo| serde_json::from_value(memo).ok()).unwrap_or_default();
        let began = Instant::now();
        let step = inspection.step(&shared.pool, lead.now_ms, BATCH).await?;
        let rest = SHORTEST_REST.max(began.elapsed() * SHARE);
        if let Ok(memo) = serde_json::to_value(inspection) {
            remember(&shared.pool, Self::NAME, worker_id, &memo).await?;
        }
        tell(shared, step.repaired);
        if let Some(error) = step.failed {
            return Err(error);
        }
        if step.done {
            prune(&shared.pool).await?;
            return Ok(ROUND.max(rest));
        }
        Ok(rest)
    }

    /// A step processes its own batches by halves, so that the walk goes on: there is nothing to choose.
    const PARTS: &'static [&'static str] = &[SERVICE, unsuccessful::SERVICE];

    async fn process(&self, shared: &Shared, part: &str, ids: Vec<String>) -> sqlx::Result<()> {
        let ids = tasks(&ids);
        if part == unsuccessful::SERVICE {
            return mend(&shared.pool, &ids).await.map(|_mended| ());
        }
        tell(shared, repair(&shared.pool, &ids).await?);
        Ok(())
    }
}

fn tell(shared: &Shared, repaired: i32) {
    if repaired > 0 {
        shared.metrics.worker().repaired(usize::try_from(repaired).unwrap_or(0));
        tracing::error!(
            tasks = repaired,
            "returned stranded tasks to the queue; this is a defect of Longhaul, please report it \
             (longhaul.repaired lists them)"
        );
    }
}
