//! `longhaul bench`: one file a workload. What they share: `ground` is the
//! database, `crew` a worker in this process, `meter` counts what a run cost,
//! `report` prints it; `noop`, `pause`, `chatter` and `pulse` are the task types.

mod api;
mod backlog;
mod chatter;
mod crew;
mod drain;
mod enqueue_bulk;
mod enqueue_http;
mod enqueue_single;
mod gates;
mod ground;
mod growth;
mod http;
mod latency;
mod limit;
mod load;
mod meter;
mod mix;
mod noop;
mod pause;
mod pinned;
mod process;
mod progress;
mod pulse;
mod queues;
mod report;
mod streams;
mod sustained;
mod tally;

use clap::{Args, Subcommand};
use longhaul_model::Registry;
use serde_json::Value;

use self::ground::Ground;
use self::report::{Report, Run};
use longhaul::{log_to_stderr, stop_signal};

/// Measures the engine: throughput, latency, and what a task costs in WAL,
/// commits, buffers, CPU and memory.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Debug, Subcommand)]
enum Workload {
    /// Drain tasks that do nothing, beside the limit of PostgreSQL itself.
    Drain(drain::Drain),
    /// Store tasks one by one, each waiting for its commit.
    EnqueueSingle(enqueue_single::EnqueueSingle),
    /// Store many tasks at once.
    EnqueueBulk(enqueue_bulk::EnqueueBulk),
    /// POST tasks to an API process, each until its durable 202.
    EnqueueHttp(enqueue_http::EnqueueHttp),
    /// How soon an idle worker begins: after an enqueue, and after a POST.
    Latency(latency::Latency),
    /// Store and run at a steady rate, end to end.
    Sustained(sustained::Sustained),
    /// Drain while many running tasks report their progress all the time.
    Progress(progress::Progress),
    /// Store and run for minutes while an old transaction holds back vacuum.
    Pinned(pinned::Pinned),
    /// Drain with few and with millions of tasks waiting.
    Backlog(backlog::Backlog),
    /// Drain one queue, and as many tasks over many queues.
    Queues(queues::Queues),
    /// Store into queues with and without a gate, alone and beside a worker.
    Gates(gates::Gates),
    /// Long tasks among short ones: are the slots in use, do short ones wait?
    Mix(mix::Mix),
    /// Drain with a history of millions of ended tasks, and with none.
    Growth(growth::Growth),
    /// Clients that stream changing tasks: how late they see the end.
    Streams(streams::Streams),
    /// The limit: a bare table, batched INSERT, batched DELETE … SKIP LOCKED.
    Limit(limit::Limit),
    /// The API of the benchmarks, as a process of its own.
    #[command(hide = true)]
    Api(api::Api),
}

/// What every workload takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchArgs {
    /// A server to measure on; a database of our own is made there, and dropped
    /// at the end. By default a private server is started. (DATABASE_URL is not
    /// looked at: a benchmark must not load a database by accident.)
    #[arg(long)]
    database_url: Option<String>,
    /// How many runs; the median is what counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// One workload.
trait Measure {
    /// As on the command line.
    const NAME: &'static str;

    fn args(&self) -> &BenchArgs;

    /// The sizes, for the report.
    fn parameters(&self) -> Value;

    /// One run; called several times on the same ground.
    async fn run(&self, ground: &Ground) -> anyhow::Result<Run>;
}

async fn measure<M: Measure>(workload: M) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let ground = Ground::prepare(workload.args()).await?;
    let runs = async {
        let mut runs = Vec::new();
        for number in 1..=workload.args().runs {
            eprintln!("{}: run {number} of {} …", M::NAME, workload.args().runs);
            runs.push(workload.run(&ground).await?);
        }
        Report::new(&workload, &ground, runs).await
    };
    let result = tokio::select! {
        report = runs => report,
        () = stop.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    ground.clear_away().await?;
    let report = result?;
    if workload.args().json {
        println!("{}", report.json())
    } else {
        print!("{}", report.table())
    }
    Ok(())
}

impl Bench {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        // The report is what people want to see.
        log_to_stderr("warn,sqlx=error");
        match self.workload {
            Workload::Drain(workload) => measure(workload).await,
            Workload::EnqueueSingle(workload) => measure(workload).await,
            Workload::EnqueueBulk(workload) => measure(workload).await,
            Workload::EnqueueHttp(workload) => measure(workload).await,
            Workload::Latency(workload) => measure(workload).await,
            Workload::Sustained(workload) => measure(workload).await,
            Workload::Progress(workload) => measure(workload).await,
            Workload::Pinned(workload) => measure(workload).await,
            Workload::Backlog(workload) => measure(workload).await,
            Workload::Queues(workload) => measure(workload).await,
            Workload::Gates(workload) => measure(workload).await,
            Workload::Mix(workload) => measure(workload).await,
            Workload::Growth(workload) => measure(workload).await,
            Workload::Streams(workload) => measure(workload).await,
            Workload::Limit(workload) => measure(workload).await,
            Workload::Api(api) => api.run().await,
        }
    }
}

/// The task types of the benchmarks.
fn registry() -> Registry {
    Registry::new().with::<noop::Noop>().with::<pause::Pause>().with::<chatter::Chatter>().with::<pulse::Pulse>()
}
