//! Keeps the number of tasks that succeeded.

use std::time::Duration;

use longhaul_model::serde_json::{Value, json};
use longhaul_model::store::failure::sqlstate;
use longhaul_model::store::leader::{Lead, lead, remember};
use longhaul_model::store::successes::{fold, recount, recount_is_due};

use super::Service;
use crate::shared::Shared;

/// Adds up the changes of the number, so that it is read from few rows, and counts the tasks
/// when that is due; one worker at a time.
pub(crate) struct Bookkeeper;

const EVERY: Duration = Duration::from_secs(10);
/// Of workers that do not lead.
const PATIENCE: Duration = Duration::from_secs(30);
/// Rows in one statement.
const BATCH: i64 = 10_000;
/// The rest between full batches.
const BREATH: Duration = Duration::from_millis(20);
/// The wait after a count that did not end: the table may be too large for one statement.
const AFTER_FAILURE_MS: i64 = 3_600_000;

impl Service for Bookkeeper {
    const NAME: &'static str = "bookkeeper";

    async fn run_once(&self, shared: &Shared) -> sqlx::Result<Duration> {
        let worker_id = shared.identity.worker_id();
        let Some(lead) = lead(&shared.pool, Self::NAME, worker_id, PATIENCE * 3).await? else {
            return Ok(PATIENCE);
        };
        if fold(&shared.pool, BATCH).await? >= BATCH {
            return Ok(BREATH);
        }
        if not_before(&lead) <= lead.now_ms && recount_is_due(&shared.pool).await? {
            let note = |memo: Value| async move { remember(&shared.pool, Self::NAME, worker_id, &memo).await };
            note(json!(lead.now_ms.saturating_add(AFTER_FAILURE_MS))).await?;
            match recount(&shared.pool).await {
                Ok(counted) => tracing::debug!(counted, "counted the tasks that succeeded"),
                // Another leader adds up the same rows: it is tried again with the next run.
                Err(error) if sqlstate(&error).as_deref() == Some("40001") => {}
                Err(error) => return Err(error),
            }
            note(Value::Null).await?;
        }
        Ok(EVERY)
    }
}

/// When the tasks may be counted again.
fn not_before(lead: &Lead) -> i64 {
    let noted = lead.memo.as_ref().and_then(Value::as_i64);
    noted.filter(|noted| *noted <= lead.now_ms.saturating_add(AFTER_FAILURE_MS)).unwrap_or(i64::MIN)
}
