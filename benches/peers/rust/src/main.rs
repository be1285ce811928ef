//! `longhaul-peers PEER COMMAND TASKS [PRODUCERS]`: one step of a workload on the
//! empty or filled database `DATABASE_URL`; its figures are one line of JSON.
//!
//! setup | fill N | drain N | bulk N P | single N P | latency N

mod apalis;
mod awa;
mod graphile;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// One queue, with the settings that were found best.
#[async_trait]
pub trait Peer: Send + Sync + 'static {
    /// Jobs of one call of `bulk`.
    fn bulk_size(&self) -> usize {
        1_000
    }
    async fn setup(&self) -> anyhow::Result<()>;
    async fn bulk(&self, count: usize) -> anyhow::Result<()>;
    async fn single(&self) -> anyhow::Result<()>;
    /// Starts a worker in this process, for throughput or for latency.
    async fn consume(&self, aim: Aim, handled: Handled) -> anyhow::Result<()>;
    /// Whether any job is not yet stored as ended.
    async fn has_open(&self) -> anyhow::Result<bool>;
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    Throughput,
    Latency,
}

/// What handlers tell.
#[derive(Clone, Debug)]
pub struct Handled {
    count: Arc<AtomicUsize>,
    begun: Option<mpsc::UnboundedSender<Instant>>,
}

impl Handled {
    pub fn tell(&self) {
        if let Some(begun) = &self.begun {
            let _closed = begun.send(Instant::now());
        }
        self.count.fetch_add(1, Ordering::Release);
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |place: usize| arguments.get(place).map(String::as_str);
    let number = |place: usize, default: usize| text(place).map_or(Ok(default), str::parse);
    let url = std::env::var("DATABASE_URL").context("DATABASE_URL is not set")?;
    let (tasks, producers) = (number(2, 0)?, number(3, 1)?);
    let connections = u32::try_from(producers.max(20))?;
    let peer: Arc<dyn Peer> = match text(0) {
        Some("graphile") => Arc::new(graphile::Graphile::connect(&url, connections).await?),
        Some("awa") => Arc::new(awa::Awa::connect(&url, connections).await?),
        Some("apalis") => Arc::new(apalis::Apalis::connect(&url, connections).await?),
        _ => bail!("which peer? graphile, awa or apalis"),
    };
    let figures = match text(1) {
        Some("setup") => {
            peer.setup().await?;
            json!({})
        }
        Some("fill") => {
            bulk(&peer, tasks, 1, 1_000).await?;
            json!({})
        }
        Some("bulk") => bulk(&peer, tasks, producers, peer.bulk_size()).await?,
        Some("single") => single(&peer, tasks, producers).await?,
        Some("drain") => drain(&peer, tasks).await?,
        Some("latency") => latency(&peer, tasks).await?,
        _ => bail!("which command?"),
    };
    println!("{figures}");
    // Workers are not all made to be stopped; nothing is left to lose.
    std::process::exit(0)
}

async fn bulk(peer: &Arc<dyn Peer>, tasks: usize, producers: usize, size: usize) -> anyhow::Result<Value> {
    let each = tasks / producers;
    let began = Instant::now();
    let parts: Vec<_> = (0..producers)
        .map(|_| {
            let peer = Arc::clone(peer);
            tokio::spawn(async move {
                let mut left = each;
                while left > 0 {
                    let count = left.min(size);
                    peer.bulk(count).await?;
                    left -= count;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for part in parts {
        part.await??;
    }
    Ok(json!({"tasks_per_second": (each * producers) as f64 / began.elapsed().as_secs_f64()}))
}

async fn single(peer: &Arc<dyn Peer>, tasks: usize, producers: usize) -> anyhow::Result<Value> {
    let each = tasks / producers;
    let run = async |each: usize| {
        let parts: Vec<_> = (0..producers)
            .map(|_| {
                let peer = Arc::clone(peer);
                tokio::spawn(async move {
                    let mut waits = Vec::with_capacity(each);
                    for _ in 0..each {
                        let sent = Instant::now();
                        peer.single().await?;
                        waits.push(sent.elapsed());
                    }
                    anyhow::Ok(waits)
                })
            })
            .collect();
        let mut waits = Vec::new();
        for part in parts {
            waits.extend(part.await??);
        }
        anyhow::Ok(waits)
    };
    // Connections are opened before the clock runs.
    run(1).await?;
    let began = Instant::now();
    let waits = run(each).await?;
    let rate = waits.len() as f64 / began.elapsed().as_secs_f64();
    let mut figures = percentiles(waits);
    figures["tasks_per_second"] = json!(rate);
    Ok(figures)
}

async fn drain(peer: &Arc<dyn Peer>, tasks: usize) -> anyhow::Result<Value> {
    let handled = Handled { count: Arc::default(), begun: None };
    let began = Instant::now();
    peer.consume(Aim::Throughput, handled.clone()).await?;
    while handled.count() < tasks {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while peer.has_open().await? {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let rate = tasks as f64 / began.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).and_then(|line| line.split_whitespace().nth(1));
    let peak: f64 = peak.context("no VmHWM")?.parse()?;
    Ok(json!({"tasks_per_second": rate, "rss_peak_mib": peak / 1024.0}))
}

async fn latency(peer: &Arc<dyn Peer>, tasks: usize) -> anyhow::Result<Value> {
    let (begun, mut begins) = mpsc::unbounded_channel();
    peer.consume(Aim::Latency, Handled { count: Arc::default(), begun: Some(begun) }).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut waits = Vec::new();
    for number in 0..tasks + 10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let sent = Instant::now();
        peer.single().await?;
        let at = begins.recv().await.context("the worker ended")?;
        if number >= 10 {
            waits.push(at - sent);
        }
    }
    Ok(percentiles(waits))
}

fn percentiles(mut waits: Vec<Duration>) -> Value {
    waits.sort_unstable();
    let at = |share: f64| {
        let place = (waits.len().saturating_sub(1) as f64 * share).round() as usize;
        waits.get(place).map_or(0.0, |wait| wait.as_secs_f64() * 1e3)
    };
    json!({"p50_ms": at(0.5), "p99_ms": at(0.99)})
}
