//! `longhaul-benches latency`

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use longhaul_api::Enqueuer;
use longhaul_model::split_public_id;
use longhaul_model::store::enqueue::enqueue;
use serde_json::{Value, json};

use crate::api::ApiProcess;
use crate::args::BenchArgs;
use crate::crew::{Crew, settings};
use crate::ground::Ground;
use crate::http::Connection;
use crate::noop::Noop;
use crate::process::memory_mib;
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

        let api = ApiProcess::start(ground).await?;
        let mut connection = Connection::connect(&api.address, r#"{"Type":"Noop","Parameters":{}}"#).await?;
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

/// The first ones prepare statements and open connections.
const WARM: usize = 10;
