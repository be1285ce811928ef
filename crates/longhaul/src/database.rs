//! Connecting to the database.

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// Where the database is.
#[derive(Debug, Clone, Args)]
pub(crate) struct DatabaseArgs {
    /// The database, e.g. postgres://user:password@host/name.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: String,
}

/// A request waits this long for a connection at most; then the database counts
/// as unavailable.
const ACQUIRE: Duration = Duration::from_secs(5);

/// A pool of at most `connections`, which the server's view of activity shows under
/// `name`. Fails at once when the database can't be reached, so that a wrong address
/// shows at start-up.
///
/// # Errors
/// When the address is none, or the database does not answer.
pub async fn connect(url: &str, connections: u32, name: &str) -> anyhow::Result<PgPool> {
    const SHAPE: &str = "DATABASE_URL is not a PostgreSQL address such as postgres://user:password@host/name";
    ensure!(url.starts_with("postgres://") || url.starts_with("postgresql://"), SHAPE);
    let options: PgConnectOptions = url.parse().context(SHAPE)?;
    // A machine that vanishes must not hold locks for hours.
    let options = options.application_name(name).options([
        ("idle_in_transaction_session_timeout", "60s"),
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
    ]);
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .connect_with(options)
        .await
        .context("could not connect to the database; is DATABASE_URL right, and does PostgreSQL run?")
}
