//! Reindex, measured: entities/s, where the time goes, and the worker's memory
//! for projects of several sizes.
//!
//! ```text
//! cargo build --release && cargo run --release -p longhaul-benches --features records --bin reindex
//! ```
//!
//! Every run starts a real worker process on a private, durable PostgreSQL. The
//! result is checked: every entity is in the index once, and a sample of them is
//! found by a word of their own.
//!
//! `reindex 100000 path/to/longhaul` measures that program, of an earlier release, and this
//! build's in turn, on the same project.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use longhaul_devdb::{Options, Server};
use longhaul_model::DatabaseClock;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_test_management::search::{SearchRequest, search};
use longhaul_tests::{fill_project, shipped};
use serde_json::json;
use sqlx::PgPool;
use tokio::process::{Child, Command};
use uuid::Uuid;

/// Entities of the projects; each has twice as many relationships.
const SIZES: [i64; 3] = [10_000, 100_000, 500_000];
const RUNS: usize = 3;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let sizes: Vec<i64> = match std::env::args().nth(1) {
        Some(sizes) => sizes.split(',').map(str::parse).collect::<Result<_, _>>()?,
        None => SIZES.to_vec(),
    };
    let mut programs = vec![("this", std::env::current_exe()?.with_file_name("longhaul"))];
    if let Some(other) = std::env::args().nth(2) {
        programs.insert(0, ("other", PathBuf::from(other)));
    }
    println!(
        "| program | entities | relationships | run | seconds | entities/s | worker peak MiB | worker CPU s | index MiB | WAL MiB | search ms |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut results = Vec::new();
    for entities in sizes {
        let server = Server::start(Options::temporary().setting("max_wal_size", "4GB")).await?;
        server.ensure_database("bench").await?;
        let url = server.url("bench");
        let pool = PgPool::connect(&url).await?;
        shipped::migrate(&pool).await?;
        let project = fill_project(&pool, Uuid::now_v7(), entities).await;
        sqlx::raw_sql("VACUUM ANALYZE").execute(&pool).await?;
        for run in 1..=RUNS {
            for (name, program) in &programs {
                let measured = measure(program, &pool, &url, project.id, entities).await?;
                let searches = search_times(&pool, project.id, entities).await?;
                println!(
                    "| {name} | {entities} | {} | {run} | {:.2} | {:.0} | {:.1} | {:.2} | {:.0} | {:.0} | {} |",
                    entities * 2,
                    measured.seconds,
                    entities as f64 / measured.seconds,
                    measured.peak_mib,
                    measured.cpu_seconds,
                    measured.index_mib,
                    measured.wal_mib,
                    searches.iter().map(|ms| format!("{ms:.2}")).collect::<Vec<_>>().join(" "),
                );
                results.push(json!({
                    "program": name, "entities": entities, "run": run, "seconds": measured.seconds,
                    "peak_mib": measured.peak_mib, "cpu_seconds": measured.cpu_seconds,
                    "index_mib": measured.index_mib, "wal_mib": measured.wal_mib, "search_ms": searches,
                }));
            }
        }
        server.stop().await?;
    }
    println!("\n{}", serde_json::to_string(&results)?);
    Ok(())
}

struct Measured {
    seconds: f64,
    peak_mib: f64,
    cpu_seconds: f64,
    index_mib: f64,
    wal_mib: f64,
}

async fn measure(program: &Path, pool: &PgPool, url: &str, project: Uuid, entities: i64) -> anyhow::Result<Measured> {
    let mut worker = start_worker(program, url)?;
    let wal: String = sqlx::query_scalar("SELECT pg_current_wal_lsn()::text").fetch_one(pool).await?;
    let id = DatabaseClock::learn(pool).await?;
    let registry = shipped::registry();
    let task = NewTask::new(id.new_id(), *registry.get("Reindex")?.info(), json!({"ProjectId": project}));
    let began = Instant::now();
    enqueue(pool, std::slice::from_ref(&task)).await?;
    let state = loop {
        let state: String = sqlx::query_scalar("SELECT state::text FROM longhaul.tasks WHERE id = $1")
            .bind(task.id)
            .fetch_one(pool)
            .await?;
        if ["Succeeded", "Failed"].contains(&state.as_str()) {
            break state;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let seconds = began.elapsed().as_secs_f64();
    let pid = worker.id().context("the worker runs")?;
    let (peak_mib, cpu_seconds) = (peak_mib(pid)?, cpu_seconds(pid)?);
    worker.kill().await?;
    ensure!(state == "Succeeded", "the Reindex ended {state}");
    check(pool, project, entities).await?;
    let wal_mib: f64 = sqlx::query_scalar("SELECT (pg_current_wal_lsn() - $1::text::pg_lsn)::float8 / 1048576")
        .bind(wal)
        .fetch_one(pool)
        .await?;
    let index_mib: f64 = sqlx::query_scalar(
        "SELECT pg_total_relation_size(('search.document_' || index_id)::regclass)::float8 / 1048576 FROM search.index",
    )
    .fetch_one(pool)
    .await?;
    Ok(Measured { seconds, peak_mib, cpu_seconds, index_mib, wal_mib })
}

fn start_worker(program: &Path, url: &str) -> anyhow::Result<Child> {
    ensure!(program.exists(), "{} is missing: run cargo build --release first", program.display());
    Ok(Command::new(program).arg("work").env("DATABASE_URL", url).stderr(Stdio::null()).kill_on_drop(true).spawn()?)
}

/// Milliseconds of a search for a rare word, a word in a hundred documents or so, both, a word
/// in all, a phrase, and a key: medians.
async fn search_times(pool: &PgPool, project: Uuid, entities: i64) -> anyhow::Result<Vec<f64>> {
    let mut medians = Vec::new();
    let key = format!("TST-{}", entities / 2);
    for query in ["own7", "word31", "word31 entity", "entity", "\"entity number\" word31", &key] {
        let mut times = Vec::new();
        for _ in 0..15 {
            let request = SearchRequest { query, project_id: Some(project), limit: 20, offset: 0 };
            let began = Instant::now();
            let hits = search(pool, request).await?;
            times.push(began.elapsed().as_secs_f64() * 1_000.0);
            ensure!(hits.total > 0, "{query} found nothing");
        }
        times.sort_by(f64::total_cmp);
        medians.push(times[times.len() / 2]);
    }
    Ok(medians)
}

async fn check(pool: &PgPool, project: Uuid, entities: i64) -> anyhow::Result<()> {
    let index_id: i64 = sqlx::query_scalar("SELECT index_id FROM search.index WHERE project_id = $1")
        .bind(project)
        .fetch_one(pool)
        .await?;
    let sql = format!("SELECT count(*), count(DISTINCT entity_id) FROM search.document_{index_id}");
    let counts: (i64, i64) = sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_one(pool).await?;
    ensure!(counts == (entities, entities), "the index has {counts:?} documents and entities instead of {entities}");
    for number in (1..=entities).step_by(usize::try_from(entities / 100)?) {
        let request = SearchRequest { query: &format!("own{number}"), project_id: Some(project), limit: 1, offset: 0 };
        let hits = search(pool, request).await?;
        let key = hits.page.first().map(|hit| hit.key.as_str());
        ensure!(key == Some(&*format!("TST-{number}")), "own{number} found {key:?}");
    }
    Ok(())
}

/// The high-water mark of resident memory (proc(5), VmHWM).
fn peak_mib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM")).context("VmHWM")?;
    let kib: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib / 1024.0)
}

/// User and system time so far (proc(5), fields 14 and 15, in clock ticks of 10 ms).
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("a stat line")?.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / 100.0)
}
