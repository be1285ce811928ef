//! `longhaul serve`

use std::net::SocketAddr;

use clap::Args;

use crate::access::AccessSettings;
use crate::database_args::DatabaseArgs;
use crate::host::{Host, Listening, stop_signal};
use crate::logging::LogArgs;

/// Runs the HTTP API until SIGTERM or Ctrl-C.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    pub(super) log: LogArgs,
}

/// The addresses of the API.
#[derive(Debug, Clone, Args)]
pub(crate) struct HttpArgs {
    /// The address to listen on.
    #[arg(long, env = "LONGHAUL_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The public base address for Location and Self. Defaults to the listen address.
    #[arg(long, env = "LONGHAUL_BASE_URL")]
    base_url: Option<String>,
    /// Database connections of the API.
    #[arg(long, env = "LONGHAUL_API_CONNECTIONS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub(crate) connections: u32,
    /// Do not serve the dashboard at /.
    #[arg(long, env = "LONGHAUL_NO_DASHBOARD")]
    pub(crate) no_dashboard: bool,
    #[command(flatten)]
    access: AccessSettings,
}

impl HttpArgs {
    /// The host, with or without pages.
    pub(crate) fn pages(&self, host: Host) -> Host {
        if self.no_dashboard { host.without_dashboard() } else { host }
    }

    pub(crate) fn bind(&self) -> anyhow::Result<Listening> {
        Listening::bind(self.listen, self.base_url.clone(), self.access.clone())
    }
}

impl Serve {
    pub(crate) async fn run(self, host: Host) -> anyhow::Result<()> {
        let host = self.http.pages(host);
        let stop = stop_signal()?;
        let listening = self.http.bind()?;
        let (host, url) = self.database.apply(host);
        match listening.while_waiting(host.api_pool(&url, self.http.connections, &stop)).await? {
            Some(pool) => host.serve(pool, listening, stop).await,
            None => Ok(()),
        }
    }
}
