//! `longhaul`: the one program. `longhaul --help` lists what it does.

mod client;
mod command;
mod corpus;
mod database;
mod process;
mod trackers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Durable background tasks on PostgreSQL that always tell you how far they are.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the main job end to end, on a PostgreSQL that is thrown away.
    Demo(command::demo::Demo),
    /// Run API and worker in one process, on a PostgreSQL that is kept.
    Dev(command::dev::Dev),
    /// Run the HTTP API.
    Serve(command::serve::Serve),
    /// Run a worker.
    Work(command::work::Work),
    /// Bring the database's schema up to date.
    Migrate(command::migrate::Migrate),
    /// Import records from newline-delimited JSON, plain or gzip.
    Import(command::import::Import),
    /// Write this machine's Debian packages as records to import.
    Corpus(command::corpus::Corpus),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // A demo's own lines are what people want to see.
    let default_filter =
        if matches!(cli.command, Command::Demo(_)) { "warn,sqlx=error" } else { "info,sqlx=error,actix_server=warn" };
    let filter = EnvFilter::try_from_env("LONGHAUL_LOG").unwrap_or_else(|_| EnvFilter::new(default_filter));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let result = match cli.command {
        Command::Demo(demo) => demo.run().await,
        Command::Dev(dev) => dev.run().await,
        Command::Serve(serve) => serve.run().await,
        Command::Work(work) => work.run().await,
        Command::Migrate(migrate) => migrate.run().await,
        Command::Import(import) => import.run().await,
        Command::Corpus(corpus) => corpus.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("longhaul: {error:#}");
            ExitCode::FAILURE
        }
    }
}
