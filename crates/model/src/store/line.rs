//! A connection that is kept.

use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgPool, Postgres};

/// Keeps the connection that someone used last for the next time. A pool hands out its
/// connections in turn, and each of them would parse and plan the same statements, and keep
/// them warm, for itself (docs/performance.md, "A lane keeps its connection").
#[derive(Debug)]
pub struct Line {
    pool: PgPool,
    /// Since when it rests.
    kept: Option<(PoolConnection<Postgres>, Instant)>,
}

/// One that rested longer is asked first whether it is still there, as pools do.
const FRESH: Duration = Duration::from_secs(1);

impl Line {
    /// Over connections of this pool.
    #[must_use]
    pub fn new(pool: &PgPool) -> Self {
        Self { pool: pool.clone(), kept: None }
    }

    /// The kept connection, or one of the pool's.
    ///
    /// # Errors
    /// When the pool has none to give.
    pub async fn take(&mut self) -> sqlx::Result<PoolConnection<Postgres>> {
        if let Some((mut kept, since)) = self.kept.take()
            && (since.elapsed() < FRESH || kept.ping().await.is_ok())
        {
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
