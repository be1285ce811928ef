//! Assembles an [`App`] with its routes.

use std::sync::Arc;

use actix_web::web::{self, ServiceConfig};
use longhaul_model::store::migrate;
use longhaul_model::{Batch, DatabaseClock, Registry, Resources, TaskType};
use longhaul_telemetry::Metrics;
use sqlx::PgPool;
use sqlx::migrate::Migrator;

use crate::access::Authenticators;
use crate::app::{App, Inner};
use crate::full_queues::keep_full_queues;
use crate::limit::{BodyMemory, Limiter, Shares};
use crate::openapi::{Document, Nature, Routes};
use crate::session::{self, Login, Sessions};
use crate::settings::AppSettings;
use crate::stream::Hub;
use crate::{Enqueuer, endpoint};

/// Assembles an [`App`].
pub struct AppBuilder {
    pool: PgPool,
    metrics: Metrics,
    listen_pool: Option<PgPool>,
    registry: Registry,
    resources: Arc<Resources>,
    settings: AppSettings,
    authenticators: Authenticators,
    login: Option<Login>,
    migrators: Vec<&'static Migrator>,
    routes: Vec<fn(&mut Routes)>,
}

impl App {
    /// An app with this database and these task types.
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
            authenticators: Authenticators::default(),
            login: None,
            migrators: vec![&migrate::QUEUE],
            routes: Vec::new(),
        }
    }

    /// Adds every route to an actix-web application. That application must then do what
    /// [`bind`](crate::bind) does for all requests (limits of heads, slow and compressed bodies,
    /// the end of a connection after a chunked request).
    pub fn configure(&self, config: &mut ServiceConfig) {
        config.app_data(web::Data::new(self.clone()));
        config.app_data(web::PayloadConfig::new(self.inner.settings.body_limit));
        self.inner.routes.configure(config);
        config.default_service(web::to(endpoint::unknown_route));
    }
}

impl AppBuilder {
    /// Sets the resources of task types.
    #[must_use]
    pub fn with_resources(mut self, resources: Arc<Resources>) -> Self {
        self.resources = resources;
        self
    }

    /// Sets the instruments of this process, which its other parts may share.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Adds the routes of task types; their handlers may take `web::Data<App>`.
    #[must_use]
    pub fn with_routes(mut self, routes: fn(&mut Routes)) -> Self {
        self.routes.push(routes);
        self
    }

    /// Sets the authenticators. Without any, every caller may do everything.
    #[must_use]
    pub fn with_authenticators(mut self, authenticators: Authenticators) -> Self {
        self.authenticators = authenticators;
        self
    }

    /// Sets the pool whose options listening connections use. Behind a pooler in transaction mode,
    /// which does not support LISTEN, it must bypass the pooler.
    #[must_use]
    pub fn with_listen_pool(mut self, pool: PgPool) -> Self {
        self.listen_pool = Some(pool);
        self
    }

    /// Adds the login for browsers. It requires authenticators.
    #[must_use]
    pub fn with_login(mut self, login: Login) -> Self {
        self.login = Some(login);
        self
    }

    /// Adds another set of migrations that must be applied before the app is ready.
    #[must_use]
    pub fn with_migrations(mut self, migrator: &'static Migrator) -> Self {
        self.migrators.push(migrator);
        self
    }

    /// Reads the database's clock, registers the task types, and starts the writer of tasks.
    ///
    /// # Errors
    /// If the database does not answer.
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
        let login = self.login.filter(|_| self.authenticators.is_closed());
        let mut authenticators = self.authenticators;
        if let Some(login) = &login {
            session::add(&mut routes, login);
            authenticators = authenticators.with(Sessions { login: login.clone() });
        }
        let limiter = self.settings.limits.rate.map(Limiter::new);
        let nature = Nature { closed: authenticators.is_closed(), limited: limiter.is_some() };
        let inner = Arc::new(Inner {
            openapi: Document::new(&routes, &self.registry, &self.settings.base_url, nature),
            enqueuer: Enqueuer::start_measured(&self.pool, self.metrics.clone()),
            full_queues: Arc::default(),
            hub: Hub::start(
                self.pool.clone(),
                self.listen_pool.unwrap_or_else(|| self.pool.clone()),
                self.settings.base_url.clone(),
                self.settings.stream_poll,
                self.metrics.clone(),
            ),
            streams: Shares::default(),
            great_bodies: Shares::default(),
            body_memory: BodyMemory::new(self.settings.limits.body_memory),
            metrics: self.metrics,
            authenticators,
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
        tokio::spawn(keep_full_queues(inner.pool.clone(), Arc::downgrade(&inner.full_queues)));
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
            tracing::warn!(%error, "the database's clock could not be read; the previous offset is kept");
        }
    }
}
