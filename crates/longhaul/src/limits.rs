//! What one client may use of the API.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;
use longhaul_api::{Limits, Rate};

/// What one client may use of an API.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitSettings {
    /// The sustained number of requests per second per caller; 0 means no limit. Default: 100 with
    /// authentication, none without.
    #[arg(long, env = "LONGHAUL_RATE_LIMIT")]
    pub rate_limit: Option<u32>,
    /// The burst of requests per caller. Default: four seconds' worth.
    #[arg(long, env = "LONGHAUL_RATE_BURST")]
    pub rate_burst: Option<NonZeroU32>,
    /// Seconds until a request's body must have arrived, plus one second per 16 KiB.
    #[arg(long, env = "LONGHAUL_BODY_PATIENCE", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub body_patience: u64,
    /// Maximum number of connections; further connections wait.
    #[arg(long, env = "LONGHAUL_MAX_CONNECTIONS", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Maximum size of all requests' bodies together, in MiB; requests beyond it are answered with 503.
    #[arg(long, env = "LONGHAUL_BODY_MEMORY", value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub body_memory: u32,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self { rate_limit: None, rate_burst: None, body_patience: 20, max_connections: 4096, body_memory: 256 }
    }
}

/// Requests a second of one caller, where callers say who they are.
const RATE: u32 = 100;

impl LimitSettings {
    pub(crate) fn limits(&self, authenticated: bool) -> Limits {
        let rate = self.rate_limit.unwrap_or(if authenticated { RATE } else { 0 });
        let rate = NonZeroU32::new(rate).map(|per_second| Rate {
            per_second,
            burst: self.rate_burst.unwrap_or_else(|| per_second.saturating_mul(NonZeroU32::MIN.saturating_add(3))),
        });
        Limits {
            rate,
            body_patience: Duration::from_secs(self.body_patience),
            connections: usize::try_from(self.max_connections).unwrap_or(usize::MAX),
            body_memory: usize::try_from(self.body_memory).unwrap_or(usize::MAX).saturating_mul(1024 * 1024),
            ..Limits::default()
        }
    }
}
