//! Connections of the process's pools.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use sqlx::PgPool;

use crate::table::{POOL_CONNECTIONS, POOL_MAX};

/// Pools whose metrics are read by a scrape.
#[derive(Debug, Clone, Default)]
pub(crate) struct PoolGauges {
    pools: Arc<Mutex<Vec<(&'static str, PgPool)>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PoolLabel {
    pub(crate) pool: &'static str,
}

#[derive(Debug, EncodeLabelSet)]
struct StateLabels {
    pool: &'static str,
    state: &'static str,
}

impl PoolGauges {
    /// A pool of the same name is replaced.
    pub(crate) fn add(&self, name: &'static str, pool: &PgPool) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|(known, _)| *known != name);
        pools.push((name, pool.clone()));
    }
}

impl Collector for PoolGauges {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut connections =
            encoder.encode_descriptor(POOL_CONNECTIONS.name, POOL_CONNECTIONS.help, None, MetricType::Gauge)?;
        for (pool, connected) in &pools {
            let idle = i64::try_from(connected.num_idle()).unwrap_or(i64::MAX);
            let busy = (i64::from(connected.size()) - idle).max(0);
            for (state, number) in [("busy", busy), ("idle", idle)] {
                let labels = StateLabels { pool, state };
                ConstGauge::new(number).encode(connections.encode_family(&labels)?)?;
            }
        }
        let mut most = encoder.encode_descriptor(POOL_MAX.name, POOL_MAX.help, None, MetricType::Gauge)?;
        for (pool, connected) in &pools {
            let number = i64::from(connected.options().get_max_connections());
            ConstGauge::new(number).encode(most.encode_family(&PoolLabel { pool })?)?;
        }
        Ok(())
    }
}
