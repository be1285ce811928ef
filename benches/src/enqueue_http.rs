//! `longhaul-benches enqueue-http`

use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use serde_json::{Value, json};

use crate::api::ApiProcess;
use crate::args::BenchArgs;
use crate::ground::Ground;
use crate::http::Connection;
use crate::meter::Meter;
use crate::process::{cpu_seconds, memory_mib};
use crate::queue_tables::stored;
use crate::report::Run;
use crate::workload::Measure;

/// Clients that POST one task after the other to an API process, each waiting
/// for its 202: first as fast as they can, then at half that rate, then as fast as they can with
/// an API key.
#[derive(Debug, Args)]
pub(crate) struct EnqueueHttp {
    #[command(flatten)]
    bench: BenchArgs,
    /// How many requests at full speed, and how many at half.
    #[arg(long, default_value_t = 40_000)]
    tasks: usize,
    /// How many connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
}

const BODY: &str = r#"{"Type":"Noop","Parameters":{}}"#;

impl Measure for EnqueueHttp {
    const NAME: &'static str = "enqueue-http";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        json!({"tasks": self.tasks, "connections": self.connections})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let mut run = Run::default();
        ground.clear().await?;
        ground.settle().await?;
        let api = ApiProcess::start(ground).await?;
        let each = (self.tasks / self.connections.max(1)).max(1);
        let count = each * self.connections;
        // Warm: every worker thread of the server has its connections.
        self.clients(&api.address, None, 10.min(each), None).await?;
        let warm = 10.min(each) * self.connections;

        let (meter, cpu) = (Meter::start(ground).await?, cpu_seconds(api.id, false));
        let mut waits = self.clients(&api.address, None, each, None).await?;
        let stretch = meter.stop(ground).await?;
        let cpu = cpu_seconds(api.id, false).zip(cpu).map(|(now, before)| now - before);
        let rate = count as f64 / stretch.seconds;
        run.set("tasks_per_second", rate);
        run.set_latencies("latency", &mut waits);
        let pause = Duration::from_secs_f64(self.connections as f64 / (rate / 2.0));
        let mut waits = self.clients(&api.address, None, each, Some(pause)).await?;
        run.set_latencies("half_load_latency", &mut waits);
        if let Some(seconds) = cpu {
            run.set("api_cpu_us_per_task", seconds * 1e6 / count as f64);
        }
        if let Some(mib) = memory_mib(api.id, "VmHWM") {
            run.set("api_rss_peak_mib", mib);
        }
        if let Some(seconds) = stretch.postgres_cpu() {
            run.set("postgres_cpu_us_per_task", seconds * 1e6 / count as f64);
        }
        run.set("wal_bytes_per_task", stretch.wal_bytes() / count as f64);
        api.stop().await?;
        let (tasks, ready) = stored(&ground.pool).await?;
        let expected = i64::try_from(warm + 2 * count)?;
        ensure!(tasks == expected && ready == expected, "{tasks} stored, {ready} ready instead of {expected}");
        run.set("authenticated_to_open", self.authenticated(ground, each).await? / rate);
        Ok(run)
    }
}

impl EnqueueHttp {
    /// Tasks a second by a caller with an API key.
    async fn authenticated(&self, ground: &Ground, each: usize) -> anyhow::Result<f64> {
        ground.clear().await?;
        ground.settle().await?;
        let (api, key) = ApiProcess::start_closed(ground).await?;
        self.clients(&api.address, Some(&key), 10.min(each), None).await?;
        let began = Instant::now();
        let answers = self.clients(&api.address, Some(&key), each, None).await?.len();
        let took = began.elapsed();
        api.stop().await?;
        Ok(answers as f64 / took.as_secs_f64())
    }

    /// Every connection sends `each` requests; with a pause, at a steady pace
    /// whatever the answers take. Returns how long each answer took, counted from
    /// when its request was due.
    async fn clients(
        &self,
        address: &str,
        key: Option<&str>,
        each: usize,
        pause: Option<Duration>,
    ) -> anyhow::Result<Vec<f64>> {
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(Connection::connect(address, BODY, key).await?);
        }
        let began = Instant::now();
        let clients: Vec<_> = connections
            .into_iter()
            .enumerate()
            .map(|(number, connection)| {
                let phase = pause.unwrap_or_default().mul_f64(number as f64 / self.connections as f64);
                tokio::spawn(client(connection, each, began + phase, pause))
            })
            .collect();
        let mut waits = Vec::new();
        for client in clients {
            waits.extend(client.await??);
        }
        Ok(waits)
    }
}

async fn client(
    mut connection: Connection,
    count: usize,
    began: Instant,
    pause: Option<Duration>,
) -> anyhow::Result<Vec<f64>> {
    let mut waits = Vec::with_capacity(count);
    for number in 0..count {
        let due = match pause {
            Some(pause) => began + pause.mul_f64(number as f64),
            None => Instant::now(),
        };
        tokio::time::sleep_until(due.into()).await;
        let answer = connection.post().await?;
        ensure!(answer.status == 202, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        waits.push(due.elapsed().as_secs_f64());
    }
    Ok(waits)
}
