//! The commands that every program has, one file each.

mod config;
mod dev;
mod key;
mod migrate;
mod serve;
mod work;

use clap::Subcommand;

use crate::Host;

#[derive(Debug, Subcommand)]
pub(crate) enum Standard {
    /// Run API and worker in one process, on a PostgreSQL that is kept.
    Dev(dev::Dev),
    /// Run the HTTP API.
    Serve(serve::Serve),
    /// Run a worker.
    Work(work::Work),
    /// Make, list and revoke API keys.
    Key(key::Key),
    /// Bring the database's schema up to date.
    Migrate(migrate::Migrate),
    /// Tell what is set, and by what.
    Config(config::Config),
}

impl Standard {
    /// The commands that host task types, and so have the program's own flags.
    pub(crate) const HOSTING: [&'static str; 3] = ["dev", "serve", "work"];

    pub(crate) fn hosts_tasks(&self) -> bool {
        matches!(self, Standard::Dev(_) | Standard::Serve(_) | Standard::Work(_))
    }

    pub(crate) async fn run(self, host: Host) -> anyhow::Result<()> {
        match self {
            Standard::Dev(dev) => dev.run(host).await,
            Standard::Serve(serve) => serve.run(host).await,
            Standard::Work(work) => work.run(host).await,
            Standard::Key(key) => key.run().await,
            Standard::Migrate(migrate) => migrate.run(host).await,
            Standard::Config(_) => unreachable!("the program answers itself: it knows the command line"),
        }
    }
}
