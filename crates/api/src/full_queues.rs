//! Which queues are full (`MaxWaiting`), as this process knows it.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use longhaul_model::store::queue::{FullQueue, full};
use longhaul_model::store::{DEADLINE, within};
use sqlx::PgPool;

/// How often the database is asked. Between two answers, any number of tasks is accepted.
const EVERY: Duration = Duration::from_secs(1);
/// The look takes no more than one part of so many of the time: limits may be large.
const SHARE: u32 = 10;
/// What was known counts for this long while the database does not answer.
const KNOWN_FOR: Duration = Duration::from_secs(10);

/// The full queues and their limits. Where it can't be known, none is full.
#[derive(Default)]
pub(crate) struct FullQueues {
    limits: RwLock<HashMap<String, i32>>,
}

impl FullQueues {
    /// How many tasks may wait in this queue, if that many do.
    pub(crate) fn limit_reached(&self, queue: &str) -> Option<i32> {
        self.limits.read().unwrap_or_else(PoisonError::into_inner).get(queue).copied()
    }

    fn learn(&self, full: Vec<FullQueue>) {
        let limits = full.into_iter().map(|queue| (queue.name, queue.max_waiting)).collect();
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }
}

/// Keeps an app's knowledge of full queues up to date, whatever fails, until the app is gone.
pub(crate) async fn keep_full_queues(pool: PgPool, known: Weak<FullQueues>) {
    let (mut learned, mut failing) = (Instant::now(), false);
    loop {
        let Some(known) = known.upgrade() else { return };
        let asked = Instant::now();
        let mut rest = EVERY;
        match within(DEADLINE, full(&pool)).await {
            Ok(full) => {
                if failing {
                    tracing::info!("the full queues are known again");
                }
                known.learn(full);
                (learned, failing) = (Instant::now(), false);
                rest = rest.max(asked.elapsed() * (SHARE - 1));
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "the full queues could not be read; soon tasks are accepted without regard to MaxWaiting");
                }
                failing = true;
                if learned.elapsed() > KNOWN_FOR {
                    known.learn(Vec::new());
                }
            }
        }
        drop(known);
        tokio::time::sleep(rest).await;
    }
}
