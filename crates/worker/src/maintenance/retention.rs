//! Deletes tasks whose retention period is over.

use std::time::Duration;

use longhaul_model::serde_json;
use longhaul_model::store::audit;
use longhaul_model::store::follow::Part;
use longhaul_model::store::is_passing;
use longhaul_model::store::leader::{lead, remember};
use longhaul_model::store::linked::note_missed_ends;
use longhaul_model::store::retention::{LEFTOVER, Pruned, Retention, SERVICE, Walk, prune, remove_these};

use super::{Service, tasks, texts};
use crate::shared::Shared;

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
            let step = match walk.step(&shared.pool, &self.retention, lead.now_ms, BATCH).await {
                Err(error) if !is_passing(&error) => {
                    tracing::warn!(%error, "tasks could not be deleted; deleting them in halves");
                    walk.step_apart(&shared.pool, &self.retention, lead.now_ms, BATCH).await?
                }
                step => step?,
            };
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
            tracing::info!(removed, "deleted tasks whose retention period is over");
        }
        // As often as the walk begins anew: these look at whole tables.
        if walk.swept_at_ms() != swept_at {
            // Each of these goes on if another fails.
            let missed = note_missed_ends(&shared.pool).await;
            if let Ok(missed @ 1..) = missed {
                tracing::warn!(
                    missed,
                    "completions that other tasks wait for had not been recorded; does a worker of an older release \
                     run?"
                );
            }
            let forgotten = audit::prune(&shared.pool, self.retention.audit).await;
            if let Ok(forgotten @ 1..) = forgotten {
                tracing::info!(forgotten, "deleted old audit entries");
            }
            let pruned = prune(&shared.pool, &self.retention).await?;
            if pruned != Pruned::default() {
                tracing::info!(?pruned, "pruned old rows");
            }
            forgotten?;
            missed?;
        }
        Ok(if more { BREATH } else { self.every })
    }

    const PARTS: &'static [&'static str] = &[
        SERVICE,
        Part::MissedEnds.service(),
        LEFTOVER[0].service,
        LEFTOVER[1].service,
        LEFTOVER[2].service,
        LEFTOVER[3].service,
        LEFTOVER[4].service,
        LEFTOVER[5].service,
    ];

    async fn choose(&self, shared: &Shared, part: &str) -> sqlx::Result<Vec<String>> {
        // The others process their batches by halves themselves.
        if part == Part::MissedEnds.service() {
            return Part::MissedEnds.choose(&shared.pool).await.map(texts);
        }
        Ok(Vec::new())
    }

    async fn process(&self, shared: &Shared, part: &str, ids: Vec<String>) -> sqlx::Result<()> {
        if part == Part::MissedEnds.service() {
            return Part::MissedEnds.process(&shared.pool, &tasks(&ids)).await;
        }
        if let Some(leftover) = LEFTOVER.iter().find(|leftover| leftover.service == part) {
            return leftover.remove(&shared.pool, &self.retention, &ids).await.map(|_removed| ());
        }
        remove_these(&shared.pool, &self.retention, &tasks(&ids)).await.map(|_removed| ())
    }
}
