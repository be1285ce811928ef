//! `longhaul dev`

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use longhaul_devdb::{Options, Server};

use super::serve::HttpArgs;
use super::work::WorkerArgs;
use crate::database::connect;
use crate::process::{listen, serve, stop_signal, work};
use crate::trackers::TrackerArgs;

/// Runs API and worker in one process. Without a database address it starts a
/// private PostgreSQL whose data is kept for the next time.
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
    worker: WorkerArgs,
    #[command(flatten)]
    trackers: TrackerArgs,
}

/// The name of the database on a private server.
pub(crate) const DATABASE: &str = "longhaul";

impl Dev {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let stop = stop_signal()?;
        let listening = listen(self.http.listen, self.http.base_url, self.http.open_to_all)?;
        let (server, url) = match self.database_url {
            Some(url) => (None, url),
            None => {
                let server = Server::start(Options::kept(self.data.map_or_else(default_data, Ok)?)).await?;
                server.ensure_database(DATABASE).await?;
                let url = server.url(DATABASE);
                (Some(server), url)
            }
        };
        let resources = self.trackers.resources()?;
        let pool = connect(&url, self.http.connections, "longhaul-api").await?;
        longhaul_tasks::migrate(&pool).await?;
        println!("The API listens on {}", listening.base_url);
        println!("Look at the tasks:  psql '{url}' -c 'SELECT * FROM longhaul.tasks'");
        let worker = tokio::spawn({
            let (stop, resources) = (stop.clone(), Arc::clone(&resources));
            async move { work(&url, self.worker.settings(), resources, stop).await }
        });
        let served = serve(pool, listening, resources, stop.clone()).await;
        stop.cancel();
        worker.await.context("the worker broke down")??;
        if let Some(server) = server {
            server.stop().await?;
        }
        served
    }
}

/// Root's home can't be entered by the user that PostgreSQL runs as.
fn default_data() -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let for_root = PathBuf::from("/var/lib/longhaul");
    match (std::env::var_os("XDG_DATA_HOME").map(PathBuf::from), home) {
        (_, Some(home)) if home == std::path::Path::new("/root") => Ok(for_root.join("dev")),
        (Some(data), _) => Ok(data.join("longhaul/dev")),
        (None, Some(home)) => Ok(home.join(".local/share/longhaul/dev")),
        (None, None) => Err(anyhow::anyhow!("HOME is not set; say where to keep the data with --data")),
    }
}
