//! The instruments of a process.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric as Registrable, Registry};
use sqlx::PgPool;

use crate::api::ApiMetrics;
use crate::database::Database;
use crate::exposition::Exposition;
use crate::pool::{PoolGauges, PoolLabel};
use crate::table::{BUILD, LISTEN_LOST, Metric, POOL_WAIT};
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
}

/// Histograms that share a name.
pub(crate) type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLabel {
    by: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
}

impl Metrics {
    /// Instruments that have measured nothing yet. A part's instruments are shown
    /// once they were asked for.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of the HTTP API.
    pub fn api(&self) -> &ApiMetrics {
        self.inner.api.get_or_init(|| ApiMetrics::register(&mut self.registry()))
    }

    /// Those of a worker.
    pub fn worker(&self) -> &WorkerMetrics {
        self.inner.worker.get_or_init(|| WorkerMetrics::register(&mut self.registry()))
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

    /// From here on scrapes tell what waits in this database, which is asked once in
    /// five seconds at most, and only if someone scrapes. The first call counts.
    pub fn watch_database(&self, pool: &PgPool) {
        self.inner.database.get_or_init(|| Database::register(&mut self.registry(), pool.clone()));
    }

    /// Everything as text, in the form that `Accept` asks for.
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

/// Seconds that a statement or a request takes.
pub(crate) const LATENCY: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Seconds that a task waits or runs: up to hours.
pub(crate) const LONG: [f64; 14] =
    [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];
/// How many at once.
pub(crate) const BATCH: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1_000.0, 2_500.0];

pub(crate) fn register<M: Registrable + Clone>(registry: &mut Registry, metric: Metric, instrument: M) -> M {
    registry.register(metric.name, metric.help, instrument.clone());
    instrument
}

pub(crate) fn counters<L>(registry: &mut Registry, metric: Metric) -> Family<L, Counter>
where
    L: EncodeLabelSet + Clone + Eq + std::hash::Hash + Debug + Send + Sync + 'static,
{
    register(registry, metric, Family::default())
}

pub(crate) fn gauges<L>(registry: &mut Registry, metric: Metric) -> Family<L, Gauge>
where
    L: EncodeLabelSet + Clone + Eq + std::hash::Hash + Debug + Send + Sync + 'static,
{
    register(registry, metric, Family::default())
}

pub(crate) fn histograms<L>(registry: &mut Registry, metric: Metric, make: fn() -> Histogram) -> Histograms<L>
where
    L: EncodeLabelSet + Clone + Eq + std::hash::Hash + Debug + Send + Sync + 'static,
{
    register(registry, metric, Family::new_with_constructor(make))
}
