//! Admits held tasks when time has made room.

use std::time::Duration;

use longhaul_model::store::queue::admit_everywhere;

use super::Service;
use crate::lane::Shared;

/// Rates refill with time, which no event tells: looks ten times a second while
/// something is admitted, once a second otherwise. Everything else that makes
/// room admits at once, in its own transaction.
pub(crate) struct Gatekeeper;

impl Service for Gatekeeper {
    const NAME: &'static str = "gatekeeper";

    async fn run_once(&self, shared: &Shared) -> sqlx::Result<Duration> {
        let admitted = admit_everywhere(&shared.pool).await?;
        Ok(if admitted > 0 { Duration::from_millis(100) } else { Duration::from_secs(1) })
    }
}
