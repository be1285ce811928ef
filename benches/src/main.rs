//! The benchmarks of the queue: `cargo run --release -p longhaul-benches -- WORKLOAD`. One file a
//! workload. What they share: `ground` is the database, `crew` a worker in this process, `meter`
//! counts what a run cost, `report` prints it; `noop`, `pause`, `chatter` and `pulse` are the task
//! types, `queue_tables` has the statements on the queue's tables.

mod api;
mod args;
mod backlog;
mod chatter;
mod crew;
mod cuts;
mod drain;
mod enqueue_bulk;
mod enqueue_http;
mod enqueue_single;
mod gates;
mod ground;
mod growth;
mod http;
mod idle_workers;
mod latency;
mod limit;
mod linked;
mod load;
mod meter;
mod mix;
mod noop;
mod pause;
mod pinned;
mod process;
mod progress;
mod pulse;
mod queue_tables;
mod queues;
mod registry;
mod report;
mod streams;
mod sustained;
mod tally;
mod workload;

use clap::Parser;
use longhaul::log_to_stderr;

use self::workload::measure;

/// Measures Longhaul: throughput, latency, and what a task costs in WAL, commits, buffers, CPU
/// and memory.
#[derive(Debug, Parser)]
#[command(name = "longhaul-benches", after_help = "Results, and how to repeat them: docs/performance.md")]
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
    /// A batch of children, and a chain of tasks that wait for each other.
    Linked(linked::Linked),
    /// A steady load while every connection is cut once a second.
    Cuts(cuts::Cuts),
    /// What workers with nothing to do cost the server.
    IdleWorkers(idle_workers::IdleWorkers),
    /// Clients that stream changing tasks: how late they see the end.
    Streams(streams::Streams),
    /// The limit: a bare table, batched INSERT, batched DELETE … SKIP LOCKED.
    Limit(limit::Limit),
    /// The API of the benchmarks, as a process of its own.
    #[command(hide = true)]
    Api(api::Api),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The report is what people want to see.
    log_to_stderr("warn,sqlx=error");
    match Workload::parse() {
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
        Workload::Linked(workload) => measure(workload).await,
        Workload::Cuts(workload) => measure(workload).await,
        Workload::IdleWorkers(workload) => measure(workload).await,
        Workload::Streams(workload) => measure(workload).await,
        Workload::Limit(workload) => measure(workload).await,
        Workload::Api(api) => api.run().await,
    }
}
