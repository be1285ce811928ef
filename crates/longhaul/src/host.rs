//! API and worker as parts of a process.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context, bail};
use longhaul_api::{App, AppSettings, Routes};
use longhaul_model::store::roles::{self, Established};
use longhaul_model::{Keyring, Registry, Resources};
use longhaul_telemetry::Metrics;
use longhaul_worker::{Settings, Worker};
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::access::AccessSettings;
use crate::database::{connect, connect_engine, connect_pooled};

/// What a program hosts: its task types and what they need. [`Program`](crate::Program)
/// makes one for each command; a program with a command line of its own takes it from
/// [`Program::into_host`](crate::Program::into_host). Cheap to clone.
#[derive(Clone)]
pub struct Host {
    pub(crate) name: &'static str,
    pub(crate) registry: Registry,
    pub(crate) resources: Arc<Resources>,
    pub(crate) routes: Vec<fn(&mut Routes)>,
    pub(crate) migrations: Vec<&'static Migrator>,
    pub(crate) metrics: Metrics,
    pub(crate) dashboard: bool,
    /// The database past the pooler, if statements go through one.
    pub(crate) direct: Option<String>,
    pub(crate) grants: Vec<&'static str>,
}

impl Host {
    /// The program's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its task types.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What its task types need.
    #[must_use]
    pub fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    /// The instruments of this process.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The same with other resources.
    #[must_use]
    pub fn with_resources(mut self, resources: Resources) -> Self {
        self.resources = Arc::new(resources);
        self
    }

    /// The same, whose API has no dashboard at `/`.
    #[must_use]
    pub fn without_dashboard(mut self) -> Self {
        self.dashboard = false;
        self
    }

    /// Whether its API has a dashboard at `/`.
    #[must_use]
    pub fn has_dashboard(&self) -> bool {
        self.dashboard
    }

    /// Statements go through a pooler in transaction mode; this address of the same
    /// database goes past it, for LISTEN, which needs a session.
    #[must_use]
    pub fn with_direct_database(mut self, url: Option<String>) -> Self {
        self.direct = url;
        self
    }

    /// A pool for statements, see [`connect`].
    pub(crate) async fn pool(&self, url: &str, connections: u32, name: &str) -> anyhow::Result<PgPool> {
        match self.direct {
            None => connect(url, connections, name).await,
            Some(_) => connect_pooled(url, connections, name).await,
        }
    }

    /// A pool for the engine of a worker, see [`connect_engine`].
    async fn engine_pool(&self, url: &str, connections: u32) -> anyhow::Result<PgPool> {
        const NAME: &str = "longhaul-worker";
        match self.direct {
            None => connect_engine(url, connections, NAME).await,
            Some(_) => connect_pooled(url, connections, NAME).await,
        }
    }

    /// What LISTEN takes its connection from: one that the direct address leads to,
    /// or else another of `pool`'s.
    async fn listening(&self, pool: &PgPool, name: &str) -> anyhow::Result<PgPool> {
        match &self.direct {
            None => Ok(pool.clone()),
            Some(direct) => connect(direct, 1, name).await.context("the direct address of the database"),
        }
    }

    /// Brings the database's schema up to date: the queue's, then the program's own
    /// migrations in the order in which they were given. Safe from several places at
    /// once, and again. Then makes the database roles, if this login may, and grants them
    /// what they need.
    ///
    /// # Errors
    /// When the database does not answer, or a migration fails; that one is rolled
    /// back.
    pub async fn migrate(&self, pool: &PgPool) -> anyhow::Result<()> {
        longhaul_model::store::migrate::run(pool).await?;
        for migrations in &self.migrations {
            longhaul_model::store::migrate::apply(migrations, pool).await?;
        }
        let established = roles::establish(pool, &self.grants).await;
        if let Established::Missing(missing) =
            established.context("the database roles could not be given their rights")?
        {
            tracing::warn!(
                "there are no roles {} on this server, and this login may not make them. All goes on under the logins \
                 that there are; for least privilege let an administrator run `{} roles --apply`",
                missing.join(", "),
                self.name
            );
        }
        Ok(())
    }

    /// Whether every migration has been applied.
    pub(crate) async fn is_migrated(&self, pool: &PgPool) -> sqlx::Result<bool> {
        for migrator in std::iter::once(&longhaul_model::store::migrate::QUEUE).chain(self.migrations.iter().copied()) {
            if !longhaul_model::store::migrate::is_current(pool, migrator).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Refuses to start without what tasks could not be stored or run without.
    fn check_keys(&self) -> anyhow::Result<()> {
        let secret: Vec<&str> =
            self.registry.iter().filter(|entry| entry.has_secrets()).map(|entry| entry.info().name).collect();
        if !secret.is_empty() && self.resources.get::<Keyring>().is_none() {
            bail!(
                "{} has secret parameters, and there is no key to seal them in the database: set LONGHAUL_SECRET_KEY, \
                 e.g. to what `openssl rand -hex 32` prints, the same for all processes",
                secret.join(", ")
            );
        }
        Ok(())
    }

    fn unmigrated(&self, part: &str) -> String {
        format!("the {part} could not start; run `{} migrate` if the database is new or the program is", self.name)
    }

    /// Serves the API until `stop`.
    ///
    /// # Errors
    /// When the database does not answer or has not been migrated, or the server
    /// breaks down.
    pub async fn serve(&self, pool: PgPool, listening: Listening, stop: CancellationToken) -> anyhow::Result<()> {
        self.check_keys()?;
        let settings = AppSettings {
            trusted_proxies: listening.access.trusted_proxies.clone(),
            limits: listening.access.limits.limits(listening.access.is_closed()),
            ..AppSettings::new(&listening.base_url)
        };
        let (gate, login) = listening.access.gate(&pool)?;
        let listen = self.listening(&pool, "longhaul-api-listen").await?;
        let mut app = App::builder(pool, self.registry.clone(), settings)
            .with_gate(gate)
            .with_listen_pool(listen)
            .with_resources(Arc::clone(&self.resources))
            .with_metrics(self.metrics.clone());
        if let Some(login) = login {
            app = app.with_login(login);
        }
        for routes in &self.routes {
            app = app.with_routes(*routes);
        }
        if self.dashboard {
            app = app.with_routes(longhaul_dashboard::configure);
        }
        for migrations in &self.migrations {
            app = app.with_migrations(migrations);
        }
        let app = app.start().await.with_context(|| self.unmigrated("API"))?;
        tracing::info!(url = listening.base_url, "the API listens");
        longhaul_api::bind(app, listening.listener)?.run(stop).await.context("the HTTP server broke down")
    }

    /// Works until `stop`, then drains. Opens connections of its own: one for each
    /// lane and five, and up to 20 for handlers.
    ///
    /// # Errors
    /// When the database does not answer or has not been migrated. Later failures
    /// of the database are waited out.
    pub async fn work(&self, url: &str, settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
        self.check_keys()?;
        let lanes = u32::try_from(settings.lanes).unwrap_or(2);
        let slots = u32::try_from(settings.slots).unwrap_or(32);
        // Lanes, keeper, flusher, listener, two maintenance services.
        let engine = self.engine_pool(url, lanes + 5).await?;
        let handlers = self.pool(url, slots.clamp(2, 20), "longhaul-handlers").await?;
        let listen = self.listening(&engine, "longhaul-worker-listen").await?;
        Worker::new(engine, self.registry.clone(), settings)
            .with_handler_pool(handlers)
            .with_listen_pool(listen)
            .with_resources(Arc::clone(&self.resources))
            .with_metrics(self.metrics.clone())
            .run(stop)
            .await
            .with_context(|| self.unmigrated("worker"))
    }
}

/// A token that SIGTERM or Ctrl-C cancels; a second one ends the process.
///
/// # Errors
/// When the signals can't be handled.
pub fn stop_signal() -> anyhow::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            if again {
                std::process::exit(130);
            }
            told.cancel();
        }
    });
    Ok(stop)
}

/// Where an API listens.
pub struct Listening {
    listener: TcpListener,
    base_url: String,
    access: AccessSettings,
}

impl Listening {
    /// Binds the API's address; port 0 is any free one. `base_url` is what addresses
    /// in answers begin with, where it listens if absent. An address that others can
    /// reach is refused if everyone may do everything there, unless that was asked for
    /// in so many words.
    ///
    /// # Errors
    /// When the address is taken, or others can reach it and must not, or `base_url` is
    /// none.
    pub fn bind(address: SocketAddr, base_url: Option<String>, access: AccessSettings) -> anyhow::Result<Self> {
        access.check(address)?;
        let listener = TcpListener::bind(address).with_context(|| format!("could not listen on {address}"))?;
        let base_url = match base_url {
            Some(url) if url.starts_with("http://") || url.starts_with("https://") => url,
            Some(url) => bail!("--base-url must begin with http:// or https://, not '{url}'"),
            None => format!("http://{}", listener.local_addr()?),
        };
        Ok(Self { listener, base_url, access })
    }

    /// What addresses in answers begin with.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }
}
