//! `longhaul`: the program with the shipped task types. `longhaul --help` lists what
//! it does.

mod client;
mod command;
mod corpus;
mod trackers;

use std::process::ExitCode;

use longhaul::webhook::WebhookArgs;
use longhaul::{Host, Program, Resources, anyhow};

use self::trackers::TrackerArgs;

/// What this program does besides serving and working.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Demonstrate the main features on a temporary PostgreSQL.
    #[command(after_help = "Examples:\n  longhaul demo\n  longhaul demo --once\n\nDocumentation: longhaul docs README")]
    Demo(command::demo::Demo),
    /// Import records from newline-delimited JSON, plain or gzip.
    #[command(
        after_help = "Example:\n  longhaul import samples/timezones.ndjson\n\nDocumentation: longhaul docs import"
    )]
    Import(command::import::Import),
    /// Write this machine's Debian packages as an import file.
    #[command(after_help = "Example:\n  longhaul corpus > packages.ndjson\n\nDocumentation: longhaul docs import")]
    Corpus(command::corpus::Corpus),
}

fn main() -> ExitCode {
    Program::new(longhaul_test_management::registry())
        .with_name("longhaul")
        .with_about("Durable background tasks on PostgreSQL with live, accurate progress")
        .with_secret_keys()
        .with_settings(TrackerArgs::provide)
        .with_routes(longhaul_test_management::http::configure)
        .with_migrations(&longhaul_test_management::MIGRATIONS)
        .with_grants(longhaul_test_management::GRANTS)
        .with_webhooks()
        .with_commands(run)
        .main()
}

async fn run(command: Command, host: Host) -> anyhow::Result<()> {
    match command {
        Command::Demo(demo) => {
            let resources = WebhookArgs::default().provide(TrackerArgs::default().provide(Resources::new())?)?;
            demo.run(host.with_resources(resources)).await
        }
        Command::Import(import) => import.run().await,
        Command::Corpus(corpus) => corpus.run(),
    }
}
