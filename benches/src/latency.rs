//! `longhaul-benches latency`

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use longhaul_api::Enqueuer;
use longhaul_model::split_public_id;
use longhaul_model::store::enqueue::enqueue;
use longhaul_model::store::task_type;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::api::ApiProcess;
use crate::args::BenchArgs;
use crate::crew::{Crew, settings};
use crate::ground::Ground;
use crate::http::Connection;
use crate::noop::Noop;
use crate::process::memory_mib;
use crate::registry::registry;
use crate::report::Run;
use crate::tally::Tally;
use crate::workload::Measure;

/// With everything idle: from the call that stores a task to the start of its
/// handler (with a statement of its own, and through the enqueuer, as producers of many
/// tasks do), and from the first byte of a POST to the start of the handler.
#[derive(Debug, Args)]
pub(crate) struct Latency {
    #[command(flatten)]
    bench: BenchArgs,
    /// How many tasks each way.
    #[arg(long, default_value_t = 200)]
    tasks: usize,
    /// Milliseconds of rest between two of them.
    #[arg(long, default_value_t = 20)]
    rest: u64,
    /// How many transactions each store a task and stay open for so long; one commits every 100 ms.
    #[arg(long, default_value_t = 50)]
    transactions: usize,
    /// For how many seconds a transaction is open.
    #[arg(long, default_value_t = 3.0)]
    open: f64,
}

impl Measure for Latency {
    const NAME: &'static str = "latency";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        json!({"tasks": self.tasks, "rest_ms": self.rest})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let mut run = Run::default();
        ground.clear().await?;
        ground.settle().await?;
        let rest = Duration::from_millis(self.rest);
        let crew = Crew::start(ground, Tally::timed(), settings(32)).await?;
        let enqueuer = Enqueuer::start(&ground.pool);
        for (prefix, enqueuer) in [("", None), ("enqueuer_", Some(enqueuer))] {
            let (mut starts, mut commits) = (Vec::new(), Vec::new());
            for number in 0..self.tasks + WARM {
                tokio::time::sleep(rest).await;
                let task = ground.new_task(&Noop {})?;
                let (id, began) = (task.id, Instant::now());
                match &enqueuer {
                    Some(enqueuer) => enqueuer.enqueue(task).await?,
                    None => enqueue(&ground.pool, &[task]).await?,
                };
                let committed = began.elapsed();
                let begun = crew.tally.wait_for(id).await?;
                if number >= WARM {
                    commits.push(committed.as_secs_f64());
                    starts.push((begun - began).as_secs_f64());
                }
            }
            run.set_latencies(&format!("{prefix}enqueue_to_start"), &mut starts);
            run.set_latencies(&format!("{prefix}enqueue_to_commit"), &mut commits);
        }

        self.transactions(ground, &crew, &mut run).await?;

        let api = ApiProcess::start(ground).await?;
        let mut connection = Connection::connect(&api.address, r#"{"Type":"Noop","Parameters":{}}"#, None).await?;
        let mut starts = Vec::new();
        for number in 0..self.tasks + WARM {
            tokio::time::sleep(rest).await;
            let began = Instant::now();
            let answer = connection.post().await?;
            let body: Value = serde_json::from_slice(&answer.body).context("the answer is JSON")?;
            let id = body["Id"].as_str().and_then(split_public_id).context("the answer has an Id")?;
            let begun = crew.tally.wait_for(id.1).await?;
            if number >= WARM {
                starts.push((begun - began).as_secs_f64());
            }
        }
        run.set_latencies("post_to_start", &mut starts);
        if let Some(mib) = memory_mib(std::process::id(), "VmRSS") {
            run.set("idle_worker_rss_mib", mib);
        }
        api.stop().await?;
        crew.dismiss().await?;
        Ok(run)
    }
}

/// Between two commits.
const COMMITS_EVERY: Duration = Duration::from_millis(100);

impl Latency {
    async fn transactions(&self, ground: &Ground, crew: &Crew, run: &mut Run) -> anyhow::Result<()> {
        task_type::register(&ground.pool, &registry()).await?;
        let open = Duration::from_secs_f64(self.open);
        let at_once = open.as_millis() / COMMITS_EVERY.as_millis() + 2;
        let pool = ground.connect(usize::try_from(at_once)?).await?;
        let began = Instant::now();
        let transactions: Vec<_> = (0u32..)
            .take(self.transactions)
            .map(|number| tokio::spawn(commit_late(pool.clone(), began + COMMITS_EVERY * number, open)))
            .collect();
        let mut starts = Vec::new();
        for transaction in transactions {
            let (id, committed) = transaction.await??;
            let begun = crew.tally.wait_for(id).await?;
            starts.push(begun.saturating_duration_since(committed).as_secs_f64());
        }
        run.set_latencies("late_commit_to_start", &mut starts);
        pool.close().await;
        Ok(())
    }
}

/// Stores a task at `from` and commits when its transaction was open for so long. Returns when the
/// commit was sent.
async fn commit_late(pool: PgPool, from: Instant, open: Duration) -> anyhow::Result<(Uuid, Instant)> {
    tokio::time::sleep_until(from.into()).await;
    let mut transaction = pool.begin().await?;
    let id: String = sqlx::query_scalar("SELECT longhaul.enqueue('Noop', '{}')").fetch_one(&mut *transaction).await?;
    tokio::time::sleep_until((from + open).into()).await;
    let committed = Instant::now();
    transaction.commit().await?;
    let (_, id) = split_public_id(&id).context("an id")?;
    Ok((id, committed))
}

/// The first ones prepare statements and open connections.
const WARM: usize = 10;
