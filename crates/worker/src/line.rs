//! A lane's connection.

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};

/// Keeps the connection that a lane used last for the next time. A pool hands out its
/// connections in turn, and each of them would parse and plan the lane's statements, and
/// keep them warm, for itself (docs/performance.md).
pub(crate) struct Line {
    pool: PgPool,
    /// The pool has enough for all others, too.
    keeps: bool,
    kept: Option<PoolConnection<Postgres>>,
}

/// What the helpers of a worker need, whose beats must not wait for lanes.
const FOR_OTHERS: usize = 3;

impl Line {
    pub(crate) fn new(pool: &PgPool, lanes: usize) -> Self {
        let keeps = pool.options().get_max_connections() as usize >= lanes + FOR_OTHERS;
        Self { pool: pool.clone(), keeps, kept: None }
    }

    /// The kept connection, or one of the pool's.
    pub(crate) async fn take(&mut self) -> sqlx::Result<PoolConnection<Postgres>> {
        match self.kept.take() {
            Some(kept) => Ok(kept),
            None => self.pool.acquire().await,
        }
    }

    /// After success: one that failed goes back to the pool, which closes what is broken.
    pub(crate) fn keep(&mut self, connection: PoolConnection<Postgres>) {
        if self.keeps {
            self.kept = Some(connection);
        }
    }
}
