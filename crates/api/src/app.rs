//! What every request handler shares.

use std::sync::Arc;

use actix_web::web::{self, ServiceConfig};
use chrono::{DateTime, Utc};
use longhaul_model::store::migrate;
use longhaul_model::{Batch, DatabaseClock, Registry, Resources, TaskType};
use longhaul_telemetry::Metrics;
use sqlx::PgPool;
use sqlx::migrate::Migrator;

use crate::access::{Gate, IpNet};
use crate::limit::{Limiter, Limits};
use crate::openapi::{Document, Nature, Routes};
use crate::session::{Login, Sessions};
use crate::stream::Hub;
use crate::{Enqueuer, endpoint};

/// Settings of the API.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// The public address, without a slash at the end; what `Self` and
    /// `Location` begin with.
    pub base_url: String,
    /// Request bodies above this many bytes are refused with 413. Default 1 MiB.
    pub body_limit: usize,
    /// The same for batches of tasks. Default 16 MiB.
    pub batch_body_limit: usize,
    /// A stream of task bodies that has been silent for this long says that it
    /// is still there, so that proxies keep it open. Default 15 s.
    pub stream_heartbeat: std::time::Duration,
    /// Proxies that are believed what they say in `X-Forwarded-For`. None by default.
    pub trusted_proxies: Vec<IpNet>,
    /// What one client may use.
    pub limits: Limits,
}

impl AppSettings {
    /// Defaults, under this public address.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into().trim_end_matches('/').to_owned(),
            body_limit: 1024 * 1024,
            batch_body_limit: 16 * 1024 * 1024,
            stream_heartbeat: std::time::Duration::from_secs(15),
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// What every request handler shares. Cheap to clone.
#[derive(Clone)]
pub struct App {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) pool: PgPool,
    pub(crate) registry: Registry,
    pub(crate) resources: Arc<Resources>,
    pub(crate) clock: DatabaseClock,
    pub(crate) enqueuer: Enqueuer,
    pub(crate) hub: Hub,
    pub(crate) metrics: Metrics,
    pub(crate) gate: Gate,
    pub(crate) login: Option<Login>,
    pub(crate) limiter: Option<Limiter>,
    pub(crate) settings: AppSettings,
    pub(crate) migrators: Vec<&'static Migrator>,
    pub(crate) openapi: Document,
    routes: Routes,
}

/// Assembles an [`App`].
pub struct AppBuilder {
    pool: PgPool,
    metrics: Metrics,
    listen_pool: Option<PgPool>,
    registry: Registry,
    resources: Arc<Resources>,
    settings: AppSettings,
    gate: Gate,
    login: Option<Login>,
    migrators: Vec<&'static Migrator>,
    routes: Vec<fn(&mut Routes)>,
}

impl App {
    /// An app over this database that accepts these task types.
    #[must_use]
    pub fn builder(pool: PgPool, registry: Registry, settings: AppSettings) -> AppBuilder {
        // Parents of batches are shown like other tasks.
        let registry = if registry.get(Batch::NAME).is_ok() { registry } else { registry.with::<Batch>() };
        AppBuilder {
            pool,
            listen_pool: None,
            registry,
            resources: Arc::default(),
            settings,
            metrics: Metrics::new(),
            gate: Gate::default(),
            login: None,
            migrators: vec![&migrate::QUEUE],
            routes: Vec::new(),
        }
    }

    /// The database.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    /// The public address, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.inner.settings.base_url
    }

    /// The database's time, as well as this process knows it.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.inner.clock.now_ms()).unwrap_or_default()
    }

    /// Ends every stream of task bodies, for good: the server is about to stop,
    /// and clients go on elsewhere.
    pub fn close_streams(&self) {
        self.inner.hub.close();
    }

    /// What this API can do: its OpenAPI 3.1 document, as `GET /api/openapi.json`
    /// answers it.
    #[must_use]
    pub fn openapi(&self) -> &serde_json::Value {
        &self.inner.openapi.value
    }

    /// Adds every route to an actix-web application.
    pub fn configure(&self, config: &mut ServiceConfig) {
        config.app_data(web::Data::new(self.clone()));
        config.app_data(web::PayloadConfig::new(self.inner.settings.body_limit));
        self.inner.routes.configure(config);
        config.default_service(web::to(endpoint::unknown_route));
    }
}

impl AppBuilder {
    /// What task types need from the host.
    #[must_use]
    pub fn with_resources(mut self, resources: Arc<Resources>) -> Self {
        self.resources = resources;
        self
    }

    /// The instruments of this process, which another part of it may share.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Routes that task types bring along; their handlers may take
    /// `web::Data<App>`.
    #[must_use]
    pub fn with_routes(mut self, routes: fn(&mut Routes)) -> Self {
        self.routes.push(routes);
        self
    }

    /// How callers say who they are; without, everyone may do everything.
    #[must_use]
    pub fn with_gate(mut self, gate: Gate) -> Self {
        self.gate = gate;
        self
    }

    /// Connections that listen are made like those of this pool: behind a pooler in
    /// transaction mode, which no LISTEN outlives, one that leads past it.
    #[must_use]
    pub fn with_listen_pool(mut self, pool: PgPool) -> Self {
        self.listen_pool = Some(pool);
        self
    }

    /// Login for people with a browser; only where callers have to say who they are.
    #[must_use]
    pub fn with_login(mut self, login: Login) -> Self {
        self.login = Some(login);
        self
    }

    /// Another set of migrations that must be applied before the app is ready.
    #[must_use]
    pub fn with_migrations(mut self, migrator: &'static Migrator) -> Self {
        self.migrators.push(migrator);
        self
    }

    /// Learns the database's clock, makes the task types known, and starts to
    /// take tasks.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn start(self) -> sqlx::Result<App> {
        let clock = DatabaseClock::learn(&self.pool).await?;
        longhaul_model::store::task_type::register(&self.pool, &self.registry).await?;
        self.metrics.watch_pool("api", &self.pool);
        self.metrics.watch_database(&self.pool);
        let mut routes = Routes::default();
        endpoint::add(&mut routes, &self.settings);
        for more in self.routes {
            more(&mut routes);
        }
        let login = self.login.filter(|_| self.gate.is_closed());
        let mut gate = self.gate;
        if let Some(login) = &login {
            crate::session::add(&mut routes, login);
            gate = gate.with(Sessions { login: login.clone() });
        }
        let limiter = self.settings.limits.rate.map(Limiter::new);
        let nature = Nature { closed: gate.is_closed(), limited: limiter.is_some() };
        let inner = Arc::new(Inner {
            openapi: Document::new(&routes, &self.registry, &self.settings.base_url, nature),
            enqueuer: Enqueuer::start_measured(&self.pool, self.metrics.clone()),
            hub: Hub::start(
                self.pool.clone(),
                self.listen_pool.unwrap_or_else(|| self.pool.clone()),
                self.settings.base_url.clone(),
                self.metrics.clone(),
            ),
            metrics: self.metrics,
            gate,
            login,
            limiter,
            pool: self.pool,
            registry: self.registry,
            resources: self.resources,
            clock,
            settings: self.settings,
            migrators: self.migrators,
            routes,
        });
        tokio::spawn(keep_clock(Arc::downgrade(&inner)));
        Ok(App { inner })
    }
}

/// The local clock may be set or drift: learn the database's anew now and then.
async fn keep_clock(app: std::sync::Weak<Inner>) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(20));
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(app) = app.upgrade() else { return };
        if let Some(limiter) = &app.limiter {
            limiter.forget();
        }
        if let Err(error) = app.clock.refresh(&app.pool).await {
            tracing::warn!(%error, "the database's clock could not be read; the old offset stays");
        }
    }
}
