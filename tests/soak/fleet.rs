//! PostgreSQL, the processes of the program, and the ways between them.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use longhaul::sqlx::{self, PgPool};
use longhaul_devdb::{Options, Server};
use longhaul_tests::{Logins, Proxy, shipped};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

pub(crate) const APIS: usize = 2;
pub(crate) const WORKERS: usize = 3;
/// How often workers give a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heartbeat {
    /// Every second, so that the dead are noticed soon.
    Short,
    /// As by default.
    Default,
}

/// What the soak plays on.
pub(crate) struct Fleet {
    pub(crate) server: Mutex<Server>,
    /// The administrator's way to the database, past all proxies.
    pub(crate) admin: PgPool,
    /// APIs first, then workers.
    pub(crate) members: Vec<Member>,
    pub(crate) http: reqwest::Client,
}

/// A process that is started again when it ends, as a service manager does.
pub(crate) struct Member {
    pub(crate) name: String,
    /// Of an API.
    pub(crate) base_url: Option<String>,
    pub(crate) proxy: Proxy,
    arguments: Vec<String>,
    database_url: String,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Member {
    async fn start(&self) -> std::io::Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(&self.arguments).env("DATABASE_URL", &self.database_url).env_remove("LONGHAUL_LOG");
        command.stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        *self.child.lock().await = Some(command.spawn()?);
        Ok(())
    }

    /// Starts it again if it has ended.
    pub(crate) async fn keep_alive(&self) -> std::io::Result<()> {
        let ended = match &mut *self.child.lock().await {
            Some(child) => child.try_wait()?.is_some(),
            // A fault has it.
            None => false,
        };
        if ended { self.start().await } else { Ok(()) }
    }

    /// Sends it a signal, by its name.
    pub(crate) async fn signal(&self, name: &str) -> anyhow::Result<()> {
        if let Some(id) = self.child.lock().await.as_ref().and_then(Child::id) {
            Command::new("kill").args([name, &id.to_string()]).stderr(Stdio::null()).status().await?;
        }
        Ok(())
    }

    /// SIGKILL, and after this time a new process.
    pub(crate) async fn kill(&self, gone_for: Duration) -> anyhow::Result<()> {
        let child = self.child.lock().await.take();
        if let Some(mut child) = child {
            child.kill().await?;
        }
        tokio::time::sleep(gone_for).await;
        Ok(self.start().await?)
    }

    /// SIGTERM, and a new process once it has ended.
    pub(crate) async fn replace(&self) -> anyhow::Result<()> {
        self.signal("-TERM").await?;
        let child = self.child.lock().await.take();
        if let Some(mut child) = child
            && tokio::time::timeout(Duration::from_secs(30), child.wait()).await.is_err()
        {
            anyhow::bail!("{} did not end within 30 s of SIGTERM", self.name);
        }
        Ok(self.start().await?)
    }
}

impl Fleet {
    pub(crate) async fn start(logs: PathBuf, heartbeat: Heartbeat) -> anyhow::Result<Self> {
        let server = Server::start(Options::temporary().setting("max_connections", "300")).await?;
        server.ensure_database("soak").await?;
        let url = server.url("soak");
        let admin = sqlx::postgres::PgPoolOptions::new()
            .max_connections(12)
            .acquire_timeout(Duration::from_secs(5))
            .connect(&url)
            .await?;
        shipped::migrate(&admin).await?;
        let logins = Logins::make(&admin, &url).await;
        sqlx::raw_sql(include_str!("schema.sql")).execute(&admin).await?;
        let mut members = Vec::new();
        for number in 0..APIS + WORKERS {
            let proxy = Proxy::to(server.port()).await;
            let member = if number < APIS {
                let address = free_address()?;
                let arguments = ["serve", "--listen", &address, "--connections", "8"].map(str::to_owned).to_vec();
                let database_url = proxy.through(&logins.api);
                (format!("api-{number}"), Some(format!("http://{address}")), arguments, database_url)
            } else {
                let number = number - APIS;
                let mut arguments = vec!["work", "--slots", "12", "--drain", "5"];
                if heartbeat == Heartbeat::Short {
                    arguments.extend(["--heartbeat", "1"]);
                }
                let database_url = proxy.through(&logins.worker);
                (format!("worker-{number}"), None, arguments.into_iter().map(str::to_owned).collect(), database_url)
            };
            let (name, base_url, arguments, database_url) = member;
            let log = logs.join(format!("{name}.log"));
            members.push(Member { name, base_url, proxy, arguments, database_url, log, child: Mutex::new(None) });
        }
        let http = longhaul_tests::http_client().no_proxy().timeout(Duration::from_secs(12)).build()?;
        let fleet = Self { server: Mutex::new(server), admin, members, http };
        for member in &fleet.members {
            member.start().await?;
        }
        Ok(fleet)
    }

    pub(crate) fn apis(&self) -> &[Member] {
        &self.members[..APIS]
    }

    pub(crate) fn workers(&self) -> &[Member] {
        &self.members[APIS..]
    }

    pub(crate) async fn execute(&self, sql: &str) -> sqlx::Result<u64> {
        Ok(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&self.admin).await?.rows_affected())
    }

    /// Ends all processes in order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        for member in &self.members {
            member.signal("-TERM").await?;
        }
        for member in &self.members {
            let child = member.child.lock().await.take();
            if let Some(mut child) = child {
                tokio::time::timeout(Duration::from_secs(30), child.wait()).await??;
            }
        }
        self.admin.close().await;
        Ok(self.server.into_inner().stop().await?)
    }
}

fn free_address() -> std::io::Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
