//! The API with the benchmarks' task types, in a process of its own, so that its
//! CPU time and memory can be told from the clients'.

use std::net::TcpListener;
use std::process::Stdio;

use anyhow::Context;
use clap::Args;
use longhaul::connect;
use longhaul::stop_signal;
use longhaul_api::access::Keys;
use longhaul_api::access::secret::{Hasher, Secret};
use longhaul_api::{App, AppSettings, Authenticators};
use longhaul_model::store::api_key::{self, NewApiKey};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::ground::Ground;
use crate::registry::registry;

/// For ten thousand streams.
const CONNECTIONS: usize = 12_000;

/// Serves until SIGTERM or Ctrl-C; its address goes to standard output.
#[derive(Debug, Args)]
pub(crate) struct Api {
    #[arg(long, env = "LONGHAUL_BENCH_DATABASE", hide_env_values = true)]
    database_url: String,
    /// Callers need an API key.
    #[arg(long)]
    authenticate: bool,
}

impl Api {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let stop = stop_signal()?;
        let pool = connect(&self.database_url, 10, "longhaul-bench-load").await?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let authenticators = if self.authenticate {
            Authenticators::default().with(Keys::new(pool.clone(), None))
        } else {
            Authenticators::default()
        };
        let mut settings = AppSettings::new(format!("http://{address}"));
        settings.limits.connections = CONNECTIONS;
        let app = App::builder(pool, registry(), settings).with_authenticators(authenticators).start().await?;
        println!("{address}");
        longhaul_api::bind(app, listener)?.run(stop).await.context("the HTTP server broke down")
    }
}

/// That process; it ends when this is dropped.
pub(crate) struct ApiProcess {
    child: Child,
    pub(crate) id: u32,
    pub(crate) address: String,
}

impl ApiProcess {
    pub(crate) async fn start(ground: &Ground) -> anyhow::Result<Self> {
        Self::start_with(ground, &[]).await
    }

    /// Returns a key that may do everything, too.
    pub(crate) async fn start_closed(ground: &Ground) -> anyhow::Result<(Self, String)> {
        let (secret, hasher) = (Secret::generate()?, Hasher::new(None));
        let key = NewApiKey {
            prefix: secret.prefix(),
            name: "bench",
            hash: &hasher.hash(&secret),
            hashed_with: hasher.id(),
            permissions: &["*".to_owned()],
            projects: None,
            expires_at: None,
            created_by: None,
            again: true,
        };
        api_key::create(&ground.pool, &key).await?;
        Ok((Self::start_with(ground, &["--authenticate"]).await?, secret.expose().to_owned()))
    }

    async fn start_with(ground: &Ground, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("api")
            .args(arguments)
            .env("LONGHAUL_BENCH_DATABASE", &ground.url)
            .env("LONGHAUL_LOG", "warn")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut said = String::new();
        BufReader::new(child.stdout.take().context("the API's output")?).read_line(&mut said).await?;
        let address = said.trim().to_owned();
        anyhow::ensure!(!address.is_empty(), "the API did not start");
        let id = child.id().context("the API runs")?;
        Ok(Self { child, id, address })
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}
