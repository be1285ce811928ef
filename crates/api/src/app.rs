//! The state that all request handlers share.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use longhaul_model::{DatabaseClock, Registry, Resources};
use longhaul_telemetry::Metrics;
use sqlx::PgPool;
use sqlx::migrate::Migrator;

use crate::Enqueuer;
use crate::access::Authenticators;
use crate::full_queues::FullQueues;
use crate::limit::{BodyMemory, Limiter, Shares};
use crate::openapi::{Document, RefusalPage, Routes};
use crate::session::Login;
use crate::settings::AppSettings;
use crate::stream::Hub;

/// The state that all request handlers share. Cheap to clone.
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
    pub(crate) full_queues: Arc<FullQueues>,
    pub(crate) hub: Hub,
    pub(crate) streams: Shares,
    pub(crate) great_bodies: Shares,
    pub(crate) body_memory: BodyMemory,
    pub(crate) metrics: Metrics,
    pub(crate) authenticators: Authenticators,
    pub(crate) login: Option<Login>,
    pub(crate) limiter: Option<Limiter>,
    pub(crate) settings: AppSettings,
    pub(crate) migrators: Vec<&'static Migrator>,
    pub(crate) openapi: Document,
    pub(crate) routes: Routes,
}

impl App {
    /// The database.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    /// The public base address, without a trailing slash.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.inner.settings.base_url
    }

    /// The database's time, as this process estimates it.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.inner.clock.now_ms()).unwrap_or_default()
    }

    /// Ends every stream of task bodies, because the server is about to stop and clients reconnect
    /// to another one.
    pub fn close_streams(&self) {
        self.inner.hub.close();
    }

    /// The OpenAPI 3.1 document of this API, as in `GET /api/openapi.json`.
    #[must_use]
    pub fn openapi(&self) -> &serde_json::Value {
        &self.inner.openapi.value
    }
}

impl Inner {
    /// The page for unknown addresses in browsers, if there is one.
    pub(crate) fn unknown_page(&self) -> Option<RefusalPage> {
        self.routes.unknown_page()
    }
}
