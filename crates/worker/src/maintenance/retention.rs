//! Removes what is over for long enough.

use std::time::Duration;

use longhaul_model::serde_json;
use longhaul_model::store::audit;
use longhaul_model::store::leader::{lead, remember};
use longhaul_model::store::linked::note_missed_ends;
use longhaul_model::store::retention::{Retention, Walk, prune};

use super::Service;
use crate::lane::Shared;

/// Walks through ended tasks in bounded batches, one worker at a time.
pub(crate) struct Retainer {
    pub(crate) retention: Retention,
    /// The wait between two rounds.
    pub(crate) every: Duration,
}

/// Tasks in one statement.
const BATCH: i64 = 2_000;
/// Batches in one run, between which the lease is renewed.
const BATCHES: usize = 20;
/// The rest between full batches, so that work goes first.
const BREATH: Duration = Duration::from_millis(20);

impl Service for Retainer {
    const NAME: &'static str = "retention";

    async fn run_once(&self, shared: &Shared) -> sqlx::Result<Duration> {
        let worker_id = shared.identity.worker_id();
        // Two terms without a run, and another takes over.
        let term = self.every * 2 + Duration::from_secs(30);
        let Some(lead) = lead(&shared.pool, Self::NAME, worker_id, term).await? else {
            return Ok(self.every);
        };
        let mut walk: Walk = lead.memo.and_then(|memo| serde_json::from_value(memo).ok()).unwrap_or_default();
        let (mut removed, mut more, swept_at) = (0, true, walk.swept_at_ms());
        for _ in 0..BATCHES {
            let step = walk.step(&shared.pool, &self.retention, lead.now_ms, BATCH).await?;
            removed += step.removed;
            more = step.more;
            if !more {
                break;
            }
            tokio::time::sleep(BREATH).await;
        }
        if let Ok(memo) = serde_json::to_value(walk) {
            remember(&shared.pool, Self::NAME, worker_id, &memo).await?;
        }
        if removed > 0 {
            tracing::info!(removed, "flushed tasks whose retention period is over");
        }
        // As often as the walk begins anew: these look at whole tables.
        if walk.swept_at_ms() != swept_at {
            let missed = note_missed_ends(&shared.pool).await?;
            if missed > 0 {
                tracing::warn!(
                    missed,
                    "ends that others wait for had not been noted; is a worker of an older release there?"
                );
            }
            let forgotten = audit::prune(&shared.pool, self.retention.audit).await?;
            if forgotten > 0 {
                tracing::info!(forgotten, "forgot who did what long ago");
            }
            let pruned = prune(&shared.pool, &self.retention).await?;
            if pruned.workers + pruned.firings > 0 {
                tracing::info!(workers = pruned.workers, firings = pruned.firings, "pruned old rows");
            }
        }
        Ok(if more { BREATH } else { self.every })
    }
}
