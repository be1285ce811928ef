//! Failures in a row.

use std::time::Duration;

use longhaul_model::store::trouble;

use crate::shared::Shared;

/// How often a part of the worker has failed in a row: from the third time on, the database
/// says so to doctor, whoever looks.
#[derive(Debug, Default)]
pub(crate) struct Streak {
    failures: u32,
    /// The database says so.
    noted: bool,
}

/// So many failures in a row are noted; and then when they have doubled, or so many more
/// have come.
const NOTED_FROM: u32 = 3;
const NOTED_AGAIN: u32 = 60;
/// If the database is what fails, there is no point in waiting for it.
const WITHIN: Duration = Duration::from_secs(1);

impl Streak {
    /// It has failed so often in a row.
    pub(crate) async fn is(&mut self, failures: u32, shared: &Shared, part: &'static str, error: &str) {
        let before = std::mem::replace(&mut self.failures, failures);
        if failures == 0 {
            if self.noted {
                let over = trouble::is_over(&shared.pool, shared.identity.worker_id(), part);
                self.noted = !matches!(tokio::time::timeout(WITHIN, over).await, Ok(Ok(())));
            }
            return;
        }
        let worth = failures >= NOTED_FROM
            && (!self.noted || failures / 2 >= before.max(1) || failures / NOTED_AGAIN > before / NOTED_AGAIN);
        if worth {
            let note = trouble::note(&shared.pool, shared.identity.worker_id(), part, failures, error);
            self.noted |= matches!(tokio::time::timeout(WITHIN, note).await, Ok(Ok(())));
        }
    }
}
