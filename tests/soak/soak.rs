//! From the first process to the verdict.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use longhaul::serde_json::json;
use longhaul::sqlx;
use longhaul::uuid::Uuid;

use crate::clients::{Client, Record};
use crate::fleet::{Fleet, Heartbeat};
use crate::plan::Plan;
use crate::report::{self, Done};
use crate::{checker, faults, outages, read};

const CLIENTS: u64 = 5;
/// Tasks are accepted and done again so long after a fault, or the soak fails.
const RECOVERED_WITHIN: Duration = Duration::from_secs(120);
/// Everything has come to rest so long after the last fault, or the soak fails.
const AT_REST_WITHIN: Duration = Duration::from_secs(240);

pub(crate) fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let done = runtime.block_on(async {
        match std::env::var("SOAK_SCENARIO").as_deref() {
            Err(_) | Ok("faults") => run().await,
            Ok("outages") => outages::run().await,
            Ok(other) => anyhow::bail!("there is no scenario {other}: it is faults or outages"),
        }
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the soak could not be carried out: {error:#}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn setting(name: &str) -> anyhow::Result<Option<u64>> {
    Ok(std::env::var(name).ok().map(|text| text.parse()).transpose()?)
}

/// Where the processes write their logs.
pub(crate) fn logs() -> anyhow::Result<PathBuf> {
    let logs = std::env::temp_dir().join(format!("soak-{}", std::process::id()));
    std::fs::create_dir_all(&logs)?;
    Ok(logs)
}

async fn run() -> anyhow::Result<bool> {
    let seconds = setting("SOAK_SECONDS")?.unwrap_or(180);
    let seed = setting("SOAK_SEED")?.unwrap_or_else(|| rand::random::<u32>().into());
    let logs = logs()?;
    println!("SOAK_SEED={seed} SOAK_SECONDS={seconds}, logs in {}", logs.display());
    let fleet = Fleet::start(logs.clone(), Heartbeat::Short).await?;
    faults::settings(&fleet).await?;
    let (record, stop, dead) = (Record::new(), AtomicBool::new(false), AtomicBool::new(false));
    let clients = futures_util::future::join_all(
        (0..CLIENTS).map(|number| Client::new(&fleet, &record, seed.wrapping_add(number)).run(&stop)),
    );
    let faults = async {
        let done = faults_for(&fleet, &record, seed, Duration::from_secs(seconds)).await;
        stop.store(true, Ordering::Relaxed);
        let rested = if done.is_ok() { rest(&fleet).await } else { Ok(None) };
        dead.store(true, Ordering::Relaxed);
        (done, rested)
    };
    let (_, (done, rested), ()) = tokio::join!(clients, faults, keep_alive(&fleet, &dead));
    let (done, rested) = (done?, rested?);
    println!("at rest {}", rested.map_or("never".to_owned(), |took| format!("{:.1} s after the last fault", took)));
    let in_time = rested.is_some() && done.iter().all(|fault| fault.recovered_in < RECOVERED_WITHIN.as_secs_f64());
    Ok(verdict(fleet, &record, &done, logs).await? && in_time)
}

pub(crate) async fn verdict(fleet: Fleet, record: &Record, done: &[Done], logs: PathBuf) -> anyhow::Result<bool> {
    let mut history = read::history(&fleet.admin).await?;
    (history.requests, history.seen) = record.take();
    let violations = checker::check(&history);
    let count = |what: &str, number: usize| println!("{number} {what}");
    count("requests", history.requests.len());
    count("tasks", history.tasks.len());
    count("rows behind the fence", history.effects.len());
    count("looks at progress", history.seen.len());
    println!("\n{}", report::table(&history, done, &violations));
    for violation in violations.iter().take(100) {
        println!("{:?}: {:?} {:?}: {}", violation.kind, violation.task, violation.token, violation.says);
    }
    if violations.is_empty() {
        fleet.stop().await?;
        std::fs::remove_dir_all(logs)?;
        println!("every promise was kept");
    } else {
        println!("{} promises were broken; logs are in {}", violations.len(), logs.display());
        if let Ok(seconds) = std::env::var("SOAK_KEEP") {
            println!("the database is at {}", fleet.server.lock().await.url("soak"));
            tokio::time::sleep(Duration::from_secs(seconds.parse()?)).await;
        }
        fleet.stop().await?;
    }
    Ok(violations.is_empty())
}

pub(crate) async fn keep_alive(fleet: &Fleet, dead: &AtomicBool) {
    while !dead.load(Ordering::Relaxed) {
        for member in &fleet.members {
            if let Err(error) = member.keep_alive().await {
                eprintln!("{} does not start: {error}", member.name);
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// One fault after the other, each with the time that everything works again.
async fn faults_for(fleet: &Fleet, record: &Record, seed: u64, length: Duration) -> anyhow::Result<Vec<Done>> {
    works(fleet).await?;
    let (began, mut done, mut from) = (Instant::now(), Vec::new(), record.now());
    for fault in Plan::of(seed) {
        if began.elapsed() >= length {
            break;
        }
        tokio::time::sleep(Duration::from_secs_f64(fault.quiet)).await;
        println!("{:7.1} s: {} for {:.1} s ({})", record.now(), fault.kind.name(), fault.seconds, fault.choice);
        faults::carry_out(fleet, &fault).await?;
        let recovered_in = works(fleet).await?.as_secs_f64();
        let to = record.now();
        println!("{to:7.1} s: works again after {recovered_in:.2} s");
        done.push(Done { kind: fault.kind, from, to, recovered_in });
        from = to;
    }
    Ok(done)
}

/// Until every API answers and a task that is urgent has been done.
pub(crate) async fn works(fleet: &Fleet) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let probe = async {
        for api in fleet.apis() {
            let url = format!("{}/health/ready", api.base_url.as_deref().unwrap_or_default());
            while !fleet.http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let token = format!("probe-{}", Uuid::now_v7());
        let parameters = json!({"token": token, "steps": 1, "step_ms": 0});
        let id = loop {
            let urgent = "SELECT split_part(longhaul.enqueue('Piece', $1, priority => 0), '_', 2)::uuid";
            match sqlx::query_scalar::<_, Uuid>(urgent).bind(&parameters).fetch_one(&fleet.admin).await {
                Ok(id) => break id,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        loop {
            let ended: sqlx::Result<bool> =
                sqlx::query_scalar("SELECT state = 'Succeeded' FROM longhaul.task WHERE id = $1")
                    .bind(id)
                    .fetch_one(&fleet.admin)
                    .await;
            if ended.unwrap_or(false) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(RECOVERED_WITHIN, probe).await.is_err() {
        println!("nothing works {RECOVERED_WITHIN:?} after a fault");
    }
    Ok(began.elapsed())
}

/// Until nothing is open any more; `None` if that takes too long.
pub(crate) async fn rest(fleet: &Fleet) -> anyhow::Result<Option<f64>> {
    let began = Instant::now();
    let mut told = Instant::now();
    while began.elapsed() < AT_REST_WITHIN {
        let unrest = read::unrest(&fleet.admin).await?;
        if unrest == 0 {
            return Ok(Some(began.elapsed().as_secs_f64()));
        }
        if told.elapsed() > Duration::from_secs(10) {
            println!("not at rest yet: {unrest}");
            told = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(None)
}
