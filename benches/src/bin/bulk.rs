//! Storing very many tasks, measured: COPY against chunks of one statement, each
//! in one transaction, one connection and two.
//!
//! ```text
//! cargo run --release -p longhaul-benches --bin bulk -- 500000
//! ```
//!
//! On a private, durable PostgreSQL. Every run is checked: that many tasks are
//! stored, and that many are ready.

use std::time::Instant;

use anyhow::ensure;
use longhaul_devdb::{Options, Server};
use longhaul_model::store::bulk::enqueue_many;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::{DatabaseClock, TaskTypeInfo};
use serde_json::json;
use sqlx::PgPool;

const RUNS: usize = 3;

#[derive(Debug, Clone, Copy)]
enum How {
    Copy,
    Chunks(usize),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let tasks: usize = std::env::args().nth(1).map_or(Ok(200_000), |text| text.parse())?;
    let info = *longhaul_tasks::registry().get("Reindex")?.info();
    println!("| how | connections | run | tasks | seconds | tasks/s | WAL bytes a task |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (how, connections) in [
        (How::Chunks(1_000), 1),
        (How::Chunks(5_000), 1),
        (How::Chunks(20_000), 1),
        (How::Copy, 1),
        (How::Chunks(5_000), 2),
        (How::Copy, 2),
    ] {
        let server = Server::start(Options::temporary().setting("max_wal_size", "8GB")).await?;
        server.ensure_database("bench").await?;
        let pool = PgPool::connect(&server.url("bench")).await?;
        longhaul_tasks::migrate(&pool).await?;
        for run in 1..=RUNS {
            sqlx::raw_sql("TRUNCATE longhaul.task, longhaul.ready CASCADE; CHECKPOINT").execute(&pool).await?;
            let wal: String = sqlx::query_scalar("SELECT pg_current_wal_insert_lsn()::text").fetch_one(&pool).await?;
            let began = Instant::now();
            let parts = (0..connections).map(|_| tokio::spawn(store(pool.clone(), how, info, tasks / connections)));
            for part in parts.collect::<Vec<_>>() {
                part.await??;
            }
            let seconds = began.elapsed().as_secs_f64();
            let bytes: f64 = sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - $1::text::pg_lsn)::float8")
                .bind(wal)
                .fetch_one(&pool)
                .await?;
            let stored: (i64, i64) =
                sqlx::query_as("SELECT (SELECT count(*) FROM longhaul.task), (SELECT count(*) FROM longhaul.ready)")
                    .fetch_one(&pool)
                    .await?;
            let expected = i64::try_from(tasks / connections * connections)?;
            ensure!(stored == (expected, expected), "{stored:?} are stored and ready instead of {expected}");
            println!(
                "| {how:?} | {connections} | {run} | {expected} | {seconds:.2} | {:.0} | {:.0} |",
                expected as f64 / seconds,
                bytes / expected as f64
            );
        }
        server.stop().await?;
    }
    Ok(())
}

async fn store(pool: PgPool, how: How, info: TaskTypeInfo, count: usize) -> anyhow::Result<()> {
    let clock = DatabaseClock::learn(&pool).await?;
    let mut tasks = (0..count).map(|number| {
        NewTask::new(clock.new_id(), info, json!({"Optimize": number % 2 == 0, "SkipRelationships": true}))
    });
    let mut transaction = pool.begin().await?;
    match how {
        How::Copy => {
            enqueue_many(&mut transaction, tasks).await?;
        }
        How::Chunks(size) => loop {
            let chunk: Vec<NewTask> = tasks.by_ref().take(size).collect();
            if chunk.is_empty() {
                break;
            }
            enqueue(&mut *transaction, &chunk).await?;
        },
    }
    transaction.commit().await?;
    Ok(())
}
