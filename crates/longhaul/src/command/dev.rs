//! `longhaul dev`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use longhaul_devdb::{Options, Server};

use super::serve::HttpArgs;
use super::work::WorkerArgs;
use crate::database::connect;
use crate::host::{Host, stop_signal};
use crate::logging::LogArgs;

/// Runs API and worker in one process. Without a database address it starts a
/// private PostgreSQL whose data, port and password are kept for the next time.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Use this database instead of a private one.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Where the private PostgreSQL keeps its data.
    #[arg(long, env = "LONGHAUL_DATA")]
    data: Option<PathBuf>,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    pub(super) worker: WorkerArgs,
    #[command(flatten)]
    pub(super) log: LogArgs,
}

/// The name of the database on a private server.
const DATABASE: &str = "longhaul";

impl Dev {
    pub(crate) async fn run(self, host: Host) -> anyhow::Result<()> {
        let host = self.http.pages(host);
        let stop = stop_signal()?;
        let listening = self.http.bind()?;
        // A given address may have a password.
        let shown = self.database_url.as_ref().map(|_| "\"$DATABASE_URL\"".to_owned());
        let (server, url) = match self.database_url {
            Some(url) => (None, url),
            None => {
                let server =
                    Server::start(Options::kept(self.data.map_or_else(|| default_data(host.name()), Ok)?)).await?;
                server.ensure_database(DATABASE).await?;
                let url = server.url(DATABASE);
                (Some(server), url)
            }
        };
        let pool = connect(&url, self.http.connections, "longhaul-api").await?;
        host.migrate(&pool).await?;
        println!("The API listens on {}", listening.base_url());
        if host.has_dashboard() {
            println!("The dashboard is at {}/", listening.base_url());
        }
        let shown = shown.unwrap_or_else(|| format!("'{url}'"));
        println!("Look at the tasks:  psql {shown} -c 'SELECT * FROM longhaul.tasks'");
        let worker = tokio::spawn({
            let (host, stop) = (host.clone(), stop.clone());
            async move { host.work(&url, self.worker.settings(), stop).await }
        });
        let served = host.serve(pool, listening, stop.clone()).await;
        stop.cancel();
        worker.await.context("the worker failed")??;
        if let Some(server) = server {
            server.stop().await?;
        }
        served
    }
}

/// Root's home can't be entered by the user that PostgreSQL runs as.
fn default_data(program: &str) -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let for_root = PathBuf::from("/var/lib").join(program);
    match (std::env::var_os("XDG_DATA_HOME").map(PathBuf::from), home) {
        (_, Some(home)) if home == std::path::Path::new("/root") => Ok(for_root.join("dev")),
        (Some(data), _) => Ok(data.join(program).join("dev")),
        (None, Some(home)) => Ok(home.join(".local/share").join(program).join("dev")),
        (None, None) => Err(anyhow::anyhow!("HOME is not set; pass a data directory with --data")),
    }
}
