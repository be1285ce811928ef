//! `longhaul serve`

use std::net::SocketAddr;

use clap::Args;

use crate::database::{DatabaseArgs, connect};
use crate::process::{listen, serve, stop_signal};
use crate::trackers::TrackerArgs;

/// Runs the HTTP API until SIGTERM or Ctrl-C.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    trackers: TrackerArgs,
}

/// Where the API listens and what it calls itself.
#[derive(Debug, Clone, Args)]
pub(crate) struct HttpArgs {
    /// The address to listen on.
    #[arg(long, env = "LONGHAUL_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// The public address, what Location and Self begin with; by default where it listens.
    #[arg(long, env = "LONGHAUL_BASE_URL")]
    pub(crate) base_url: Option<String>,
    /// Listen where others can reach it although there is no access control.
    #[arg(long, env = "LONGHAUL_OPEN_TO_ALL")]
    pub(crate) open_to_all: bool,
    /// Database connections of the API.
    #[arg(long, env = "LONGHAUL_API_CONNECTIONS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub(crate) connections: u32,
}

impl Serve {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let stop = stop_signal()?;
        let listening = listen(self.http.listen, self.http.base_url, self.http.open_to_all)?;
        let resources = self.trackers.resources()?;
        let pool = connect(&self.database.database_url, self.http.connections, "longhaul-api").await?;
        serve(pool, listening, resources, stop).await
    }
}
