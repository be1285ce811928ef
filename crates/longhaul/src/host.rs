//! API and worker as parts of a process.

use std::convert::Infallible;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use longhaul_api::{App, AppSettings, Routes};
use longhaul_model::store::migrate::{QUEUE, is_current};
use longhaul_model::store::roles::{self, Established};
use longhaul_model::store::task_type::register;
use longhaul_model::{Keyring, Registry, Resources};
use longhaul_telemetry::Metrics;
use longhaul_worker::{Settings, Worker};
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::access::AccessSettings;
use crate::database::{connect, connect_engine, connect_handlers, connect_listening, connect_pooled};
use crate::supervisor::Supervisor;
use crate::waiting::{Unmigrated, Waiting};

/// The task types of a program and the resources that they need. [`Program`](crate::Program)
/// creates a host for each command; a program with its own command line gets one from
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
    /// The database's address without the pooler, if statements go through one.
    pub(crate) direct: Option<String>,
    pub(crate) grants: Vec<&'static str>,
    pub(crate) supervisor: Supervisor,
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

    /// The resources of its task types.
    #[must_use]
    pub fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    /// The instruments of this process.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The same host with other resources.
    #[must_use]
    pub fn with_resources(mut self, resources: Resources) -> Self {
        self.resources = Arc::new(resources);
        self
    }

    /// The same host without the dashboard at `/`.
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

    /// Sets the address of the same database without the pooler, for LISTEN, which needs a session.
    /// Required if statements go through a pooler in transaction mode.
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

    /// The pool whose options the listening connections use: that of the direct address, which is
    /// tried first, or else `pool`.
    async fn listening(&self, pool: &PgPool, name: &str) -> anyhow::Result<PgPool> {
        match &self.direct {
            None => Ok(pool.clone()),
            Some(direct) => connect_listening(direct, name).await.context("the direct address of the database"),
        }
    }

    /// Brings the database's schema up to date: first the queue's migrations, then the program's
    /// own in the given order. Several processes may run it at once, and repeatedly. Then creates
    /// the database roles, if this login may, and grants them their rights.
    ///
    /// # Errors
    /// If the database does not answer or is unsuitable (checked before anything changes), or if a
    /// migration fails, which is then rolled back.
    pub async fn migrate(&self, pool: &PgPool) -> anyhow::Result<()> {
        let all: Vec<&Migrator> = self.migrators().collect();
        if let Some(unfit) = longhaul_model::store::migrate::unfit(pool, &all).await? {
            return Err(unfit.into());
        }
        longhaul_model::store::migrate::run(pool).await?;
        for migrations in &self.migrations {
            longhaul_model::store::migrate::apply(migrations, pool).await?;
        }
        let established = roles::establish(pool, &self.grants).await;
        if let Established::Missing(missing) =
            established.context("the database roles could not be granted their rights")?
        {
            tracing::warn!(
                "the roles {} do not exist on this server, and this login may not create them. Processes use their \
                 logins as they are; for least privilege let an administrator run `{} roles --apply`",
                missing.join(", "),
                self.name
            );
        }
        Ok(())
    }

    /// The queue's migrations, then the program's own.
    pub(crate) fn migrators(&self) -> impl Iterator<Item = &Migrator> {
        std::iter::once(&QUEUE).chain(self.migrations.iter().copied())
    }

    /// The versions of its migrations: the queue's, then the program's own.
    pub fn migration_versions(&self) -> impl Iterator<Item = i64> {
        self.migrators().flat_map(|migrator| migrator.iter().map(|migration| migration.version))
    }

    /// Whether every migration has been applied.
    pub(crate) async fn is_migrated(&self, pool: &PgPool) -> sqlx::Result<bool> {
        for migrator in self.migrators() {
            if !is_current(pool, migrator).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Until then `/health/ready` is 503.
    async fn wait_for_schema(&self, pool: &PgPool) {
        while !matches!(self.is_migrated(pool).await, Ok(true)) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Refuses to start without what tasks could not be stored or run without.
    fn check_keys(&self) -> anyhow::Result<()> {
        let secret: Vec<&str> =
            self.registry.iter().filter(|entry| entry.has_secrets()).map(|entry| entry.info().name).collect();
        if !secret.is_empty() && self.resources.get::<Keyring>().is_none() {
            bail!(
                "{} has secret parameters, and there is no key to encrypt them in the database: set \
                 LONGHAUL_SECRET_KEY to the same value for all processes, e.g. to the output of `openssl rand -hex \
                 32`",
                secret.join(", ")
            );
        }
        Ok(())
    }

    /// Connections of a database that is current: for the engine, handlers, and what listens.
    async fn worker_pools(&self, url: &str, lanes: u32, shared: u32) -> anyhow::Result<(PgPool, PgPool, PgPool)> {
        // Lanes, keeper, flusher, two maintenance services; the listener and the idle locks have their own.
        let engine = self.engine_pool(url, lanes + 4).await?;
        if !is_current(&engine, &QUEUE).await? {
            engine.close().await;
            bail!(Unmigrated(self.unmigrated("worker")));
        }
        let handlers = connect_handlers(url, shared, self.direct.is_some()).await?;
        let listen = self.listening(&engine, "longhaul-worker-listen").await?;
        Ok((engine, handlers, listen))
    }

    /// A pool for the API, as soon as there is a database; `None` if the process is to stop before.
    pub(crate) async fn api_pool(
        &self,
        url: &str,
        connections: u32,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<PgPool>> {
        let mut waiting = Waiting::new("API", stop);
        loop {
            match self.pool(url, connections, "longhaul-api").await {
                Ok(pool) => return Ok(Some(pool)),
                Err(error) => {
                    if !waiting.after(error).await? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Whether the database has its schema and takes the task types; waits until it does, and not if
    /// the process is to stop.
    async fn waits_for_types(&self, pool: &PgPool, stop: &CancellationToken) -> anyhow::Result<bool> {
        let mut waiting = Waiting::new("API", stop);
        while let Err(error) = register(pool, &self.registry).await.with_context(|| self.unmigrated("API")) {
            if !waiting.after(error).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn unmigrated(&self, part: &str) -> String {
        format!("the {part} could not start; run `{} migrate` if the database or the program is new", self.name)
    }

    /// Serves the API until `stop`. While the database is not there or has not been migrated, it
    /// waits, and answers `/health/live` with 200 and all else with 503.
    ///
    /// # Errors
    /// If the database refuses the login or the types, or the server fails.
    pub async fn serve(&self, pool: PgPool, listening: Listening, stop: CancellationToken) -> anyhow::Result<()> {
        self.check_keys()?;
        self.supervisor.watch(self.metrics.vitals(), &stop);
        let settings = AppSettings {
            trusted_proxies: listening.access.trusted_proxies.clone(),
            hosts: listening.access.allowed_hosts.clone(),
            limits: listening.access.limits.limits(listening.access.is_closed()),
            ..AppSettings::new(&listening.base_url)
        };
        if !listening.while_waiting(self.waits_for_types(&pool, &stop)).await? {
            self.supervisor.stops();
            return Ok(());
        }
        let database = pool.clone();
        let (authenticators, login) = listening.access.authenticators(&pool)?;
        let listen = self.listening(&pool, "longhaul-api-listen").await?;
        let mut app = App::builder(pool, self.registry.clone(), settings)
            .with_authenticators(authenticators)
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
        let server = longhaul_api::bind(app, listening.listener)?;
        tracing::info!(url = listening.base_url, "the API listens");
        let becomes_ready = async {
            self.wait_for_schema(&database).await;
            self.metrics.vitals().become_ready();
            std::future::pending::<Infallible>().await
        };
        let served = tokio::select! {
            served = server.run(stop) => served.context("the HTTP server failed"),
            never = becomes_ready => match never {},
        };
        self.supervisor.stops();
        served
    }

    /// Runs a worker until `stop`, then drains it. Opens its own connections: one per lane plus six
    /// (one of which listens, and one holds idle locks), and at most
    /// [`Settings::handler_connections`] for handlers.
    ///
    /// ```no_run
    /// # use longhaul::{Program, Registry};
    /// # fn mail_tasks() -> Registry { Registry::new() }
    /// use longhaul::{CancellationToken, Client, Settings, anyhow, connect, tokio};
    ///
    /// async fn start(url: &str, stop: CancellationToken) -> anyhow::Result<Client> {
    ///     let host = Program::new(mail_tasks()).into_host();
    ///     let pool = connect(url, 4, "my-app").await?;
    ///     host.migrate(&pool).await?;
    ///     let worker_url = url.to_owned();
    ///     tokio::spawn(async move { host.work(&worker_url, Settings::default(), stop).await });
    ///     Ok(Client::new(pool).await?)
    /// }
    /// ```
    ///
    /// # Errors
    /// If the database refuses the login or the worker. The worker waits for a database that is not
    /// there or not migrated yet, and while it fails later.
    pub async fn work(&self, url: &str, settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
        self.check_keys()?;
        self.supervisor.watch(self.metrics.vitals(), &stop);
        let lanes = u32::try_from(settings.lanes).unwrap_or(2);
        let shared = u32::try_from(settings.shared_connections()).unwrap_or(u32::MAX);
        let mut waiting = Waiting::new("worker", &stop);
        let (engine, handlers, listen) = loop {
            match self.worker_pools(url, lanes, shared).await {
                Ok(pools) => break pools,
                Err(error) => {
                    if !waiting.after(error).await? {
                        self.supervisor.stops();
                        return Ok(());
                    }
                }
            }
        };
        let worked = Worker::new(engine, self.registry.clone(), settings)
            .with_handler_pool(handlers)
            .with_listen_pool(listen)
            .with_resources(Arc::clone(&self.resources))
            .with_metrics(self.metrics.clone())
            .run(stop)
            .await
            .with_context(|| self.unmigrated("worker"));
        self.supervisor.stops();
        worked
    }
}

/// Returns a token that SIGTERM or Ctrl-C cancels. A second signal ends the process.
///
/// # Errors
/// If the signals can't be handled.
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
    /// Binds the API's address; port 0 means any free port. `base_url` is the beginning of
    /// addresses in responses. Default: the listen address. Refuses an address that other hosts can
    /// reach if the API requires no authentication, unless that was requested explicitly.
    ///
    /// # Errors
    /// If the address is in use, if other hosts can reach it without authentication, or if
    /// `base_url` is invalid.
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

    /// Waits for this. If it takes longer than a start usually does, clients are told meanwhile that
    /// the process lives and can't serve yet.
    pub(crate) async fn while_waiting<T>(&self, begun: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        const USUALLY: Duration = Duration::from_millis(500);
        tokio::pin!(begun);
        if let Ok(begun) = tokio::time::timeout(USUALLY, &mut begun).await {
            return begun;
        }
        let server = longhaul_api::bind_waiting(self.listener.try_clone()?)?;
        let handle = server.handle();
        let serving = tokio::spawn(server);
        let begun = begun.await;
        handle.stop(true).await;
        serving.await??;
        begun
    }

    /// The beginning of addresses in responses.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }
}
