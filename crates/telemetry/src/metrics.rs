//! The instruments of a process.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use sqlx::PgPool;

use crate::api::ApiMetrics;
use crate::database::Database;
use crate::exposition::Exposition;
use crate::instrument::{Histograms, LATENCY, counters, gauges, histograms};
use crate::pool::{PoolGauges, PoolLabel};
use crate::table::{BUILD, LISTEN_LOST, POOL_WAIT};
use crate::vitals::Vitals;
use crate::worker::WorkerMetrics;

/// The instruments of one process, for all of its parts. Cheap to clone: clones are
/// the same instruments.
#[derive(Clone, Default)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    registry: Mutex<Registry>,
    api: OnceLock<ApiMetrics>,
    worker: OnceLock<WorkerMetrics>,
    pools: OnceLock<PoolGauges>,
    pool_wait: OnceLock<Histograms<PoolLabel>>,
    listen_lost: OnceLock<Family<ByLabel, Counter>>,
    database: OnceLock<Database>,
    build: OnceLock<()>,
    vitals: Vitals,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLabel {
    by: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
}

impl Metrics {
    /// New instruments. A part's instruments are exposed after their first use.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The instruments of the HTTP API.
    pub fn api(&self) -> &ApiMetrics {
        self.inner.api.get_or_init(|| ApiMetrics::register(&mut self.registry()))
    }

    /// The instruments of a worker.
    pub fn worker(&self) -> &WorkerMetrics {
        self.inner.worker.get_or_init(|| WorkerMetrics::register(&mut self.registry()))
    }

    /// Whether the process is ready, and its loops go round.
    #[must_use]
    pub fn vitals(&self) -> &Vitals {
        &self.inner.vitals
    }

    /// From here on scrapes tell how many connections the pool has.
    pub fn watch_pool(&self, name: &'static str, pool: &PgPool) {
        let pools = self.inner.pools.get_or_init(|| {
            let pools = PoolGauges::default();
            self.registry().register_collector(Box::new(pools.clone()));
            pools
        });
        pools.add(name, pool);
    }

    /// The engine waited this long for a connection of the pool.
    pub fn waited_for_connection(&self, pool: &'static str, waited: Duration) {
        let waits = self
            .inner
            .pool_wait
            .get_or_init(|| histograms(&mut self.registry(), POOL_WAIT, || Histogram::new(LATENCY)));
        waits.get_or_create(&PoolLabel { pool }).observe(waited.as_secs_f64());
    }

    /// A LISTEN connection was lost.
    pub fn listen_lost(&self, by: &'static str) {
        let lost = self.inner.listen_lost.get_or_init(|| counters(&mut self.registry(), LISTEN_LOST));
        lost.get_or_create(&ByLabel { by }).inc();
    }

    /// Adds the metrics of this database. A scrape reads them, at most every five seconds. Only the
    /// first call has an effect.
    pub fn watch_database(&self, pool: &PgPool) {
        self.inner.database.get_or_init(|| Database::register(&mut self.registry(), pool.clone()));
    }

    /// Returns all metrics as text, in the format that `Accept` requests.
    pub async fn expose(&self, accept: Option<&str>) -> Exposition {
        if let Some(database) = self.inner.database.get() {
            database.refresh().await;
        }
        self.inner.build.get_or_init(|| {
            let build: Family<VersionLabel, Gauge> = gauges(&mut self.registry(), BUILD);
            build.get_or_create(&VersionLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        });
        Exposition::of(&self.registry(), accept)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.inner.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
