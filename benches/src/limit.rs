//! `longhaul-benches limit`: what PostgreSQL itself can do.

use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::ground::Ground;
use crate::meter::Meter;
use crate::report::Run;
use crate::workload::Measure;

/// A bare table with batched INSERT and batched DELETE … FOR UPDATE SKIP LOCKED
/// RETURNING: no state, no history, no lease. No queue on tables can be faster.
#[derive(Debug, Args)]
pub(crate) struct Limit {
    #[command(flatten)]
    bench: BenchArgs,
    #[command(flatten)]
    sizes: Sizes,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Sizes {
    /// How many rows.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) tasks: usize,
    /// Rows of one statement.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) batch: i32,
    /// Connections that delete.
    #[arg(long, default_value_t = 2)]
    pub(crate) connections: usize,
}

impl Measure for Limit {
    const NAME: &'static str = "limit";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        let Sizes { tasks, batch, connections } = self.sizes;
        json!({"tasks": tasks, "batch": batch, "connections": connections})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let mut run = Run::default();
        let rates = measure(ground, self.sizes, &mut run).await?;
        run.set("inserts_per_second", rates.insert);
        run.set("tasks_per_second", rates.delete);
        Ok(run)
    }
}

/// Rows a second.
pub(crate) struct Rates {
    pub(crate) insert: f64,
    pub(crate) delete: f64,
}

/// Fills a bare table and empties it.
pub(crate) async fn measure(ground: &Ground, sizes: Sizes, run: &mut Run) -> anyhow::Result<Rates> {
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS bare (id bigserial PRIMARY KEY, payload jsonb NOT NULL); TRUNCATE bare")
        .execute(&ground.pool)
        .await?;
    let began = Instant::now();
    let mut left = i32::try_from(sizes.tasks)?;
    let mut inserting = ground.pool.acquire().await?;
    while left > 0 {
        let batch = left.min(sizes.batch);
        sqlx::query("INSERT INTO bare (payload) SELECT '{}' FROM generate_series(1, $1)")
            .bind(batch)
            .execute(&mut *inserting)
            .await?;
        left -= batch;
    }
    drop(inserting);
    let insert = sizes.tasks as f64 / began.elapsed().as_secs_f64();
    sqlx::raw_sql("VACUUM ANALYZE bare").execute(&ground.pool).await?;
    sqlx::raw_sql("CHECKPOINT").execute(&ground.pool).await?;

    let pool = ground.connect(sizes.connections).await?;
    let meter = Meter::start(ground).await?;
    let began = Instant::now();
    let parts: Vec<_> =
        (0..sizes.connections.max(1)).map(|_| tokio::spawn(delete(pool.clone(), sizes.batch))).collect();
    let mut deleted = 0;
    for part in parts {
        deleted += part.await??;
    }
    let delete = sizes.tasks as f64 / began.elapsed().as_secs_f64();
    let stretch = meter.stop(ground).await?;
    pool.close().await;
    stretch.costs(ground, run, "limit_", sizes.tasks).await?;
    ensure!(deleted == sizes.tasks, "{deleted} rows were deleted instead of {}", sizes.tasks);
    Ok(Rates { insert, delete })
}

async fn delete(pool: sqlx::PgPool, batch: i32) -> sqlx::Result<usize> {
    let mut connection = pool.acquire().await?;
    let mut deleted = 0;
    loop {
        let rows: Vec<(i64, Value)> = sqlx::query_as(
            "DELETE FROM bare
              WHERE id = ANY (ARRAY(SELECT id FROM bare ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED))
             RETURNING id, payload",
        )
        .bind(batch)
        .fetch_all(&mut *connection)
        .await?;
        if rows.is_empty() {
            return Ok(deleted);
        }
        deleted += rows.len();
    }
}
