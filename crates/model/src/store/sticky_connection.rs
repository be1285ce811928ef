//! A connection that is kept.

use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Executor, PgPool, Postgres};

use super::failure::may_be_lost;
use crate::connect::ping;
use crate::hosts::is_outdated;

/// Keeps the connection that someone used last for the next time. A pool hands out its
/// connections in turn, and each of them would parse and plan the same statements, and keep
/// them warm, for itself (docs/adr/0008-performance-history.md, "A lane keeps its connection").
#[derive(Debug)]
pub struct StickyConnection {
    pool: PgPool,
    /// Since when it rests.
    kept: Option<(PoolConnection<Postgres>, Instant)>,
    /// When its plans were last thrown away.
    planned: Instant,
}

/// One that rested longer, or while another one was lost, is asked first whether it is still there,
/// as pools do.
const FRESH: Duration = Duration::from_secs(1);
/// How long plans are kept. One that was made while the tables were small may join with all
/// of a table, and would be used until the next ANALYZE (docs/adr/0008-performance-history.md). Planning
/// anew takes some milliseconds. PostgreSQL manual, DISCARD.
const PLANS_LAST: Duration = Duration::from_secs(10);

impl StickyConnection {
    /// Over connections of this pool.
    #[must_use]
    pub fn new(pool: &PgPool) -> Self {
        Self { pool: pool.clone(), kept: None, planned: Instant::now() }
    }

    /// The kept connection, or one of the pool's.
    ///
    /// # Errors
    /// If the pool has none to give.
    pub async fn take(&mut self) -> sqlx::Result<PoolConnection<Postgres>> {
        if let Some((mut kept, since)) = self.kept.take()
            && !is_outdated(since.elapsed())
            && ((since.elapsed() < FRESH && !may_be_lost(since.elapsed())) || ping(&mut kept).await.is_ok())
        {
            if self.planned.elapsed() > PLANS_LAST {
                kept.execute("DISCARD PLANS").await?;
                self.planned = Instant::now();
            }
            return Ok(kept);
        }
        self.pool.acquire().await
    }

    /// After success: one that failed is dropped, and goes back to the pool, which closes
    /// what is broken. It is kept only while another one rests in the pool: where
    /// connections are few, a heartbeat must not wait for one that is kept.
    pub fn keep(&mut self, connection: PoolConnection<Postgres>) {
        if self.pool.num_idle() > 0 {
            self.kept = Some((connection, Instant::now()));
        }
    }
}
