//! Draining no-op tasks, beside the limit of PostgreSQL itself: a bare table with
//! batched INSERT and batched `DELETE … FOR UPDATE SKIP LOCKED RETURNING`, the same
//! batch size, the same server, the runs interleaved.
//!
//! ```text
//! cargo run --release -p longhaul-benches --bin drain [tasks]
//! ```

use std::time::{Duration, Instant};

use anyhow::ensure;
use longhaul_devdb::{Options, Server};
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::{DatabaseClock, Outcome, Registry, RunContext, RunError, TaskType};
use longhaul_worker::{Settings, Worker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

/// Does nothing.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Noop {}

impl TaskType for Noop {
    const NAME: &'static str = "Noop";
    const ID_PREFIX: &'static str = "noop-";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

const RUNS: usize = 3;
const BATCH: usize = 1_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let tasks: usize = std::env::args().nth(1).map_or(Ok(100_000), |number| number.parse())?;
    let server = Server::start(Options::temporary().setting("max_wal_size", "4GB")).await?;
    server.ensure_database("bench").await?;
    let pool = PgPoolOptions::new().max_connections(20).connect(&server.url("bench")).await?;
    longhaul_model::store::migrate::run(&pool).await?;
    sqlx::raw_sql("CREATE TABLE bare (id bigserial PRIMARY KEY, payload jsonb)").execute(&pool).await?;
    println!("| run | enqueue/s | drain/s | limit: insert/s | limit: drain/s | WAL B/task: enqueue | drain | HOT |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for run in 1..=RUNS {
        let ours = ours(&pool, tasks).await?;
        let limit = limit(&pool, tasks).await?;
        println!(
            "| {run} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.3} |",
            ours.enqueue, ours.drain, limit.0, limit.1, ours.wal_enqueue, ours.wal_drain, ours.hot
        );
    }
    server.stop().await?;
    Ok(())
}

struct Ours {
    enqueue: f64,
    drain: f64,
    wal_enqueue: f64,
    wal_drain: f64,
    hot: f64,
}

async fn wal(pool: &PgPool) -> sqlx::Result<f64> {
    sqlx::query_scalar("SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::float8").fetch_one(pool).await
}

async fn ours(pool: &PgPool, tasks: usize) -> anyhow::Result<Ours> {
    sqlx::raw_sql("TRUNCATE longhaul.task, longhaul.ready, longhaul.attempt_error; CHECKPOINT; SELECT pg_stat_reset()")
        .execute(pool)
        .await?;
    let registry = Registry::new().with::<Noop>();
    let info = *registry.get("Noop")?.info();
    let clock = DatabaseClock::learn(pool).await?;
    let before = wal(pool).await?;
    let began = Instant::now();
    for _ in 0..tasks / BATCH {
        let batch: Vec<NewTask> = (0..BATCH).map(|_| NewTask::new(clock.new_id(), info, json!({}))).collect();
        enqueue(pool, &batch).await?;
    }
    let enqueued = began.elapsed();
    let between = wal(pool).await?;
    sqlx::raw_sql("VACUUM ANALYZE longhaul.task, longhaul.ready").execute(pool).await?;

    let stop = longhaul_model::CancellationToken::new();
    let settings = Settings { slots: 200, ..Settings::default() };
    let began = Instant::now();
    let worker = tokio::spawn(Worker::new(pool.clone(), registry, settings).run(stop.clone()));
    loop {
        let left: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM longhaul.ready) OR EXISTS (SELECT FROM longhaul.lease)")
                .fetch_one(pool)
                .await?;
        if !left {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let drained = began.elapsed();
    let after = wal(pool).await?;
    stop.cancel();
    worker.await??;
    let succeeded: i64 =
        sqlx::query_scalar("SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'").fetch_one(pool).await?;
    ensure!(usize::try_from(succeeded)? == tasks, "{succeeded} of {tasks} succeeded");
    sqlx::raw_sql("SELECT pg_stat_force_next_flush()").execute(pool).await?;
    let hot: f64 = sqlx::query_scalar(
        "SELECT coalesce(n_tup_hot_upd::float8 / nullif(n_tup_upd, 0), 1) FROM pg_stat_user_tables
          WHERE schemaname = 'longhaul' AND relname = 'task'",
    )
    .fetch_one(pool)
    .await?;
    let count = tasks as f64;
    Ok(Ours {
        enqueue: count / enqueued.as_secs_f64(),
        drain: count / drained.as_secs_f64(),
        wal_enqueue: (between - before) / count,
        wal_drain: (after - between) / count,
        hot,
    })
}

/// What PostgreSQL can do at most: two connections, as our two lanes.
async fn limit(pool: &PgPool, tasks: usize) -> anyhow::Result<(f64, f64)> {
    sqlx::raw_sql("TRUNCATE bare; CHECKPOINT").execute(pool).await?;
    let began = Instant::now();
    for _ in 0..tasks / BATCH {
        sqlx::query("INSERT INTO bare (payload) SELECT '{}' FROM generate_series(1, $1)")
            .bind(i32::try_from(BATCH)?)
            .execute(pool)
            .await?;
    }
    let inserted = began.elapsed();
    sqlx::raw_sql("VACUUM ANALYZE bare").execute(pool).await?;
    let began = Instant::now();
    let drain = async || -> sqlx::Result<()> {
        loop {
            let ids: Vec<i64> = sqlx::query_scalar(
                "DELETE FROM bare WHERE id = ANY (ARRAY(SELECT id FROM bare ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING id",
            )
            .bind(i32::try_from(BATCH).unwrap_or(1_000))
            .fetch_all(pool)
            .await?;
            if ids.is_empty() {
                return Ok(());
            }
        }
    };
    let (one, two) = tokio::join!(drain(), drain());
    one?;
    two?;
    let drained = began.elapsed();
    Ok((tasks as f64 / inserted.as_secs_f64(), tasks as f64 / drained.as_secs_f64()))
}
