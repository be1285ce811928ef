//! `longhaul health`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

pub(super) const EXAMPLES: &str = "Examples:
  longhaul health
  longhaul health --listen 127.0.0.1:9000
  longhaul health --metrics-listen 127.0.0.1:9187

It is told the same addresses as `serve` and `work` and may be given them by the same variables and
file. Where no API listens, the worker is asked whose metrics are at --metrics-listen.

Exit codes: 0 ready; 1 not ready, or nothing answers: standard error says why.";

/// Asks the API or the worker on this machine whether it is ready: a health check for containers
/// and scripts.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// The address to listen on.
    #[arg(long, env = "LONGHAUL_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Show this worker's metrics here, under /metrics, and its health beside them; whoever
    /// reaches the address may read them.
    #[arg(long, env = "LONGHAUL_METRICS_LISTEN", value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
}

/// An API looks at its database for two seconds at most.
const PATIENCE: Duration = Duration::from_secs(4);

impl Health {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        // A proxy that the environment names is not asked about this machine.
        let client = longhaul_outbound::http_client().no_proxy().timeout(PATIENCE).build()?;
        let mut nobody = Vec::new();
        for address in [Some(self.listen), self.metrics_listen].into_iter().flatten().map(reachable) {
            let response = match client.get(format!("http://{address}/health/ready")).send().await {
                Err(error) if error.is_connect() => {
                    nobody.push(address.to_string());
                    continue;
                }
                answer => {
                    answer.with_context(|| format!("no answer from {address} within {} s", PATIENCE.as_secs()))?
                }
            };
            let status = response.status();
            if status == reqwest::StatusCode::OK {
                println!("ready");
                return Ok(());
            }
            let body = response.text().await.unwrap_or_default();
            bail!("{address} is not ready: {status}: {}", body.trim());
        }
        bail!("nothing listens on {}", nobody.join(" or "))
    }
}

/// Where a process is reached that listens on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
