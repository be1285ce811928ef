//! How soon, and at what cost, subscribers see their tasks' states.
//!
//! `streams subscribers [N] [SECONDS]`: N clients (1,000) each stream a task of
//! their own for SECONDS (10) from an API in a process of its own; tells how
//! long after its end each one saw the final state, and the API's memory.
//!
//! `streams drain [N]`: the throughput of N (100,000) tasks that do nothing
//! while nobody, and while 1,000 others, are watched.
//!
//! Results are one JSON object on standard output.

use std::collections::HashMap;
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use longhaul_api::{App, AppSettings};
use longhaul_devdb::{Options, Server};
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::watch;
use longhaul_model::{DatabaseClock, Outcome, Registry, Resources, RunContext, RunError, TaskType, TaskTypeInfo};
use longhaul_worker::{Settings, Worker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Changes its progress ten times a second.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Pulse {
    beats: i64,
}

impl TaskType for Pulse {
    const NAME: &'static str = "Pulse";
    const ID_PREFIX: &'static str = "pulse-";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        context.progress().set_total(self.beats);
        for beat in 0..self.beats {
            tokio::time::sleep(Duration::from_millis(100)).await;
            context.progress().set_processed(beat);
            context.progress().set_message(format!("Beat {beat} of {}", self.beats));
        }
        if let Some(ends) = context.resources().get::<Ends>() {
            ends.note(context.task_id());
        }
        Ok(Outcome::done())
    }
}

/// Does nothing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Nothing {}

impl TaskType for Nothing {
    const NAME: &'static str = "Nothing";
    const ID_PREFIX: &'static str = "nothing-";

    async fn run(self, _: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

/// When each task's handler returned: its end is stored a little later.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<HashMap<Uuid, Instant>>>);

impl Ends {
    fn note(&self, task: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(task, Instant::now());
    }

    fn of(&self, task: Uuid) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&task).copied()
    }
}

fn registry() -> Registry {
    Registry::new().with::<Pulse>().with::<Nothing>()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: usize| match arguments.get(place) {
        Some(text) => text.parse().with_context(|| format!("'{text}' is not a number")),
        None => Ok(default),
    };
    match arguments.first().map(String::as_str) {
        Some("subscribers") => subscribers(number(1, 1_000)?, number(2, 10)?).await,
        Some("drain") => drain(number(1, 100_000)?).await,
        Some("api") => serve().await,
        _ => bail!("say `streams subscribers [N] [SECONDS]` or `streams drain [N]`"),
    }
}

/// The API, as a process of its own; its address goes to standard output.
async fn serve() -> anyhow::Result<()> {
    let pool = connect(&std::env::var("DATABASE_URL")?, 10).await?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let app = App::builder(pool, registry(), AppSettings::new(format!("http://{address}"))).start().await?;
    let server = longhaul_api::bind(app, listener)?;
    println!("{address}");
    server.run(CancellationToken::new()).await?;
    Ok(())
}

async fn connect(url: &str, connections: u32) -> anyhow::Result<PgPool> {
    Ok(PgPoolOptions::new().max_connections(connections).connect(url).await?)
}

async fn database() -> anyhow::Result<(Server, String)> {
    let server = Server::start(Options::temporary()).await?;
    server.ensure_database("bench").await?;
    let url = server.url("bench");
    longhaul_tasks::migrate(&connect(&url, 1).await?).await?;
    Ok((server, url))
}

async fn store<T: TaskType>(
    pool: &PgPool,
    info: TaskTypeInfo,
    tasks: impl Iterator<Item = T>,
) -> anyhow::Result<Vec<Uuid>> {
    let clock = DatabaseClock::learn(pool).await?;
    let mut ids = Vec::new();
    let mut batch = Vec::new();
    for task in tasks {
        let (id, parameters) = (clock.new_id(), serde_json::to_value(task)?);
        ids.push(id);
        batch.push(NewTask::new(id, info, parameters));
        if batch.len() == 1_000 {
            enqueue(pool, &std::mem::take(&mut batch)).await?;
        }
    }
    enqueue(pool, &batch).await?;
    Ok(ids)
}

fn info(name: &str) -> anyhow::Result<TaskTypeInfo> {
    Ok(*registry().get(name)?.info())
}

async fn subscribers(subscribers: usize, seconds: usize) -> anyhow::Result<()> {
    let (server, url) = database().await?;
    let mut api = tokio::process::Command::new(std::env::current_exe()?)
        .arg("api")
        .env("DATABASE_URL", &url)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut said = String::new();
    BufReader::new(api.stdout.take().context("the API's output")?).read_line(&mut said).await?;
    let address = said.trim().to_owned();
    let process = api.id().context("the API runs")?;
    let rss_before = memory(process, "VmRSS")?;

    let pool = connect(&url, 4).await?;
    // Ends are spread over a second, as they would be.
    let beats = |number: usize| Pulse { beats: (seconds * 10 + number % 10) as i64 };
    let ids = store(&pool, info(Pulse::NAME)?, (0..subscribers).map(beats)).await?;
    let ready = Arc::new(tokio::sync::Semaphore::new(0));
    let streams: Vec<_> = ids.iter().map(|id| tokio::spawn(follow(address.clone(), *id, Arc::clone(&ready)))).collect();
    let _all = ready.acquire_many(u32::try_from(subscribers)?).await?;
    let rss_subscribed = memory(process, "VmRSS")?;
    let cpu_before = cpu(process)?;

    let (ends, stop) = (Ends::default(), CancellationToken::new());
    let settings = Settings { slots: subscribers, ..Settings::default() };
    let worker = tokio::spawn(
        Worker::new(connect(&url, 10).await?, registry(), settings)
            .with_resources(Arc::new(Resources::new().with(ends.clone())))
            .run(stop.clone()),
    );
    let began = Instant::now();
    let (mut delays, mut events) = (Vec::new(), 0);
    for (id, stream) in ids.iter().zip(streams) {
        let followed = stream.await??;
        events += followed.events;
        delays.push(followed.ended.saturating_duration_since(ends.of(*id).context("the task ran")?));
    }
    let took = began.elapsed();
    let cpu_seconds = cpu(process)? - cpu_before;
    stop.cancel();
    worker.await??;
    delays.sort_unstable();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{}",
        json!({
            "subscribers": subscribers, "events": events, "events_per_second": events as f64 / took.as_secs_f64(),
            "final_state_after_end_ms": {"p50": at(0.5), "p99": at(0.99), "max": at(1.0)},
            "api_rss_mib": {"before": rss_before, "subscribed": rss_subscribed, "peak": memory(process, "VmHWM")?},
            "api_cpu_share": cpu_seconds / took.as_secs_f64(),
        })
    );
    api.kill().await?;
    server.stop().await?;
    Ok(())
}

struct Followed {
    events: usize,
    ended: Instant,
}

/// Streams one task to its end.
async fn follow(address: String, id: Uuid, ready: Arc<tokio::sync::Semaphore>) -> anyhow::Result<Followed> {
    let mut stream = TcpStream::connect(&address).await?;
    let head = format!(
        "GET /api/backgroundtask/pulse-{id}/events HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut lines = BufReader::with_capacity(2_048, stream).lines();
    let mut events = 0;
    while let Some(line) = lines.next_line().await? {
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let ended = Instant::now();
        events += 1;
        if events == 1 {
            ready.add_permits(1);
        }
        let body: Value = serde_json::from_str(data)?;
        if body["Complete"] == true {
            return Ok(Followed { events, ended });
        }
    }
    bail!("the stream of {id} ended too soon")
}

/// MiB, of a line in `/proc/{process}/status`.
fn memory(process: u32, name: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with(name)).context("no such line")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok((kib / 102.4).round() / 10.0)
}

/// Seconds of CPU time, of `/proc/{process}/stat` (user and system, in ticks of
/// 10 ms).
fn cpu(process: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit(')').next().context("no name")?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

async fn drain(tasks: usize) -> anyhow::Result<()> {
    let (server, url) = database().await?;
    let pool = connect(&url, 4).await?;
    let mut results = serde_json::Map::new();
    for (name, watched) in [("nobody_watches", 0), ("1000_others_watched", 1_000), ("nobody_watches_again", 0)] {
        sqlx::raw_sql("DELETE FROM longhaul.watched").execute(&pool).await?;
        let others: Vec<Uuid> = (0..watched).map(|_| Uuid::now_v7()).collect();
        watch::watch(&pool, Uuid::now_v7(), &others, Duration::from_secs(3_600)).await?;
        store(&pool, info(Nothing::NAME)?, (0..tasks).map(|_| Nothing {})).await?;
        for sql in ["VACUUM ANALYZE longhaul.task", "CHECKPOINT"] {
            sqlx::raw_sql(sql).execute(&pool).await?;
        }
        let stop = CancellationToken::new();
        let settings = Settings { slots: 1_000, ..Settings::default() };
        let began = Instant::now();
        let worker = tokio::spawn(Worker::new(connect(&url, 10).await?, registry(), settings).run(stop.clone()));
        loop {
            let open: bool =
                sqlx::query_scalar("SELECT EXISTS (SELECT FROM longhaul.ready) OR EXISTS (SELECT FROM longhaul.lease)")
                    .fetch_one(&pool)
                    .await?;
            if !open {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        results.insert(name.to_owned(), json!(tasks as f64 / began.elapsed().as_secs_f64()));
        stop.cancel();
        worker.await??;
    }
    println!("{}", json!({"tasks": tasks, "tasks_per_second": results}));
    server.stop().await?;
    Ok(())
}
