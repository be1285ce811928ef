//! The scenario `outages`: PostgreSQL is gone three times for a quarter of a minute under load, with
//! the heartbeats that workers have by default. No attempt is spent, no handler is started anew, and
//! two seconds after the server accepts connections again so does the API accept tasks.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use longhaul::serde_json::json;
use longhaul::sqlx;
use longhaul::uuid::Uuid;

use crate::clients::{Client, Record};
use crate::fleet::{Fleet, Heartbeat};
use crate::soak::{keep_alive, logs, rest, setting, verdict, works};
use crate::{faults, types};

const OUTAGES: u32 = 3;
const LENGTH: Duration = Duration::from_secs(15);
/// Between two outages, at least.
const QUIET: Duration = Duration::from_secs(5);
const ACCEPTED_WITHIN: Duration = Duration::from_secs(2);
/// Handlers that run through all outages, and so long.
const LONG_TASKS: i64 = 12;
const LONG: Duration = Duration::from_secs(100);
const CLIENTS: u64 = 5;
/// So many of them ask each API again and again whether it accepts a task.
const PROBES: usize = 4;

pub(crate) async fn run() -> anyhow::Result<bool> {
    let seed = setting("SOAK_SEED")?.unwrap_or_else(|| rand::random::<u32>().into());
    let logs = logs()?;
    println!("SOAK_SCENARIO=outages SOAK_SEED={seed}, logs in {}", logs.display());
    let fleet = Fleet::start(logs.clone(), Heartbeat::Default).await?;
    faults::settings(&fleet).await?;
    works(&fleet).await?;
    let (record, stop, dead) = (Record::new(), AtomicBool::new(false), AtomicBool::new(false));
    long_tasks(&fleet).await?;
    let last_accepted = Mutex::new(Instant::now());
    let clients = futures_util::future::join_all(
        (0..CLIENTS).map(|number| Client::new(&fleet, &record, seed.wrapping_add(number)).run(&stop)),
    );
    let probes = futures_util::future::join_all(
        fleet
            .apis()
            .iter()
            .flat_map(|api| vec![api; PROBES])
            .map(|api| probe(&fleet, api.base_url.as_deref().unwrap_or_default(), &last_accepted, &stop)),
    );
    let outages = async {
        let done = outages(&fleet, &last_accepted).await;
        stop.store(true, Ordering::Relaxed);
        let rested = if done.is_ok() { rest(&fleet).await } else { Ok(None) };
        dead.store(true, Ordering::Relaxed);
        (done, rested)
    };
    let (_, _, (done, rested), ()) = tokio::join!(clients, probes, outages, keep_alive(&fleet, &dead));
    let (in_time, rested) = (done?, rested?);
    println!("at rest {}", rested.map_or("never".to_owned(), |took| format!("{took:.1} s after the last outage")));
    let unspent = nothing_was_spent(&fleet).await?;
    Ok(verdict(fleet, &record, &[], logs).await? && in_time && unspent && rested.is_some())
}

async fn long_tasks(fleet: &Fleet) -> anyhow::Result<()> {
    sqlx::query("SELECT count(longhaul.enqueue('Long', $1)) FROM generate_series(1, $2)")
        .bind(json!({"seconds": LONG.as_secs()}))
        .bind(LONG_TASKS)
        .execute(&fleet.admin)
        .await?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while starts(fleet).await?.0 < LONG_TASKS {
        anyhow::ensure!(Instant::now() < deadline, "the long tasks do not begin");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// How many long tasks have begun, and how often handlers were started for them.
async fn starts(fleet: &Fleet) -> sqlx::Result<(i64, i64)> {
    sqlx::query_as("SELECT count(DISTINCT e.task), count(*) FROM soak.effect e WHERE e.kind = $1")
        .bind(types::LONG_STARTS)
        .fetch_one(&fleet.admin)
        .await
}

/// Asks for tasks, and notes when one was accepted last.
async fn probe(fleet: &Fleet, base_url: &str, last_accepted: &Mutex<Instant>, stop: &AtomicBool) {
    let url = format!("{base_url}/api/backgroundtasks");
    while !stop.load(Ordering::Relaxed) {
        let token = format!("probe-{}", Uuid::now_v7());
        let body = json!({"Type": "Piece", "Parameters": {"token": token, "steps": 1, "step_ms": 0}});
        if fleet.http.post(&url).json(&body).send().await.is_ok_and(|answer| answer.status() == 202) {
            *last_accepted.lock().expect("a lock") = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a task was accepted in time after each of them.
async fn outages(fleet: &Fleet, last_accepted: &Mutex<Instant>) -> anyhow::Result<bool> {
    let mut in_time = true;
    for number in 1..=OUTAGES {
        tokio::time::sleep(QUIET).await;
        let mut server = fleet.server.lock().await;
        server.halt_immediate().await?;
        tokio::time::sleep(LENGTH).await;
        server.resume().await?;
        drop(server);
        let back = Instant::now();
        let first = loop {
            let last = *last_accepted.lock().expect("a lock");
            if last > back {
                break last - back;
            }
            anyhow::ensure!(back.elapsed() < Duration::from_secs(120), "no task is accepted after outage {number}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let done = works(fleet).await?;
        println!(
            "outage {number} of {LENGTH:?}: the first 202 came {:.2} s after the server accepted connections; \
             all works {:.2} s later",
            first.as_secs_f64(),
            done.as_secs_f64()
        );
        in_time &= first < ACCEPTED_WITHIN;
    }
    Ok(in_time)
}

/// No worker was presumed dead, and no handler that ran was started anew.
async fn nothing_was_spent(fleet: &Fleet) -> anyhow::Result<bool> {
    let (begun, started) = starts(fleet).await?;
    let (lost, spent): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM longhaul.worker WHERE lost_at IS NOT NULL),
                (SELECT count(*) FROM longhaul.task WHERE type = 'Long' AND (attempt <> 1 OR state <> 'Succeeded'))",
    )
    .fetch_one(&fleet.admin)
    .await?;
    println!(
        "{lost} workers presumed dead; {begun} handlers ran through all outages, started {started} times; {spent} of them spent an attempt"
    );
    Ok((lost, started, spent) == (0, begun, 0))
}
