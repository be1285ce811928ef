//! `longhaul-benches streams`

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::api::ApiProcess;
use crate::args::BenchArgs;
use crate::crew::{Crew, settings};
use crate::ground::{Ground, info};
use crate::process::{cpu_seconds, memory_mib};
use crate::pulse::Pulse;
use crate::report::Run;
use crate::tally::Tally;
use crate::workload::Measure;

/// Clients that each stream a task of their own from an API process: how long
/// after its end each one saw the final state, and the API's memory.
#[derive(Debug, Args)]
pub(crate) struct Streams {
    #[command(flatten)]
    bench: BenchArgs,
    /// How many clients.
    #[arg(long, default_value_t = 1_000)]
    subscribers: usize,
    /// How long the tasks run, in seconds; each changes ten times a second.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

impl Measure for Streams {
    const NAME: &'static str = "streams";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        json!({"subscribers": self.subscribers, "seconds": self.seconds})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let mut run = Run::default();
        ground.clear().await?;
        ground.settle().await?;
        let api = ApiProcess::start(ground).await?;
        let rss_before = memory_mib(api.id, "VmRSS");
        let beats = (self.seconds * 10.0) as i64;
        let mut ids = Vec::new();
        for batch in (0..self.subscribers).collect::<Vec<_>>().chunks(1_000) {
            let tasks: Vec<NewTask> = batch
                .iter()
                .map(|number| {
                    // Ends are spread over a second, as they would be.
                    let parameters = json!({"beats": beats + i64::try_from(number % 10).unwrap_or(0)});
                    Ok(NewTask::new(ground.clock.new_id(), info::<Pulse>()?, parameters))
                })
                .collect::<anyhow::Result<_>>()?;
            ids.extend(tasks.iter().map(|task| task.id));
            enqueue(&ground.pool, &tasks).await?;
        }
        let ready = Arc::new(Semaphore::new(0));
        let streams: Vec<_> =
            ids.iter().map(|id| tokio::spawn(follow(api.address.clone(), *id, Arc::clone(&ready)))).collect();
        let _all = ready.acquire_many(u32::try_from(self.subscribers)?).await?;
        let rss_subscribed = memory_mib(api.id, "VmRSS");
        let cpu = cpu_seconds(api.id, false);

        let crew = Crew::start(ground, Tally::default(), settings(self.subscribers)).await?;
        let began = Instant::now();
        let (mut delays, mut events) = (Vec::new(), 0);
        for (id, stream) in ids.iter().zip(streams) {
            let followed = stream.await??;
            events += followed.events;
            let ended = crew.ends.of(*id).context("the task ran")?;
            delays.push(followed.ended.saturating_duration_since(ended).as_secs_f64());
        }
        let took = began.elapsed().as_secs_f64();
        run.set("events_per_second", events as f64 / took);
        run.set_latencies("final_state_after_end", &mut delays);
        if let Some((now, before)) = cpu_seconds(api.id, false).zip(cpu) {
            run.set("api_cpu_share", (now - before) / took);
        }
        for (name, value) in [
            ("api_rss_before_mib", rss_before),
            ("api_rss_subscribed_mib", rss_subscribed),
            ("api_rss_peak_mib", memory_mib(api.id, "VmHWM")),
        ] {
            if let Some(mib) = value {
                run.set(name, mib);
            }
        }
        crew.dismiss().await?;
        api.stop().await?;
        Ok(run)
    }
}

struct Followed {
    events: usize,
    ended: Instant,
}

/// A stream that stays silent for this long has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Streams one task to its end.
async fn follow(address: String, id: Uuid, ready: Arc<Semaphore>) -> anyhow::Result<Followed> {
    let mut stream = TcpStream::connect(&address).await?;
    let head = format!(
        "GET /api/backgroundtask/pulse-{id}/events HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut lines = BufReader::with_capacity(2_048, stream).lines();
    let mut events = 0;
    while let Some(line) = tokio::time::timeout(PATIENCE, lines.next_line()).await.context("a silent stream")?? {
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
