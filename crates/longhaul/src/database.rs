//! Connecting to the database.

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgPool};

use crate::host::Host;

/// Where the database is.
#[derive(Debug, Clone, Args)]
pub(crate) struct DatabaseArgs {
    /// The database, e.g. postgres://user:password@host/name.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: String,
    /// The same database past the pooler, if --database-url leads to PgBouncer in transaction mode:
    /// for LISTEN and migrations.
    #[arg(long, env = "LONGHAUL_DIRECT_DATABASE_URL", hide_env_values = true)]
    pub(crate) direct_database_url: Option<String>,
}

impl DatabaseArgs {
    /// The address that leads to a session: past the pooler, if there is one.
    pub(crate) fn for_a_session(&self) -> &str {
        self.direct_database_url.as_deref().unwrap_or(&self.database_url)
    }

    /// The host as it is with this database, and where its statements go.
    pub(crate) fn apply(self, host: Host) -> (Host, String) {
        (host.with_direct_database(self.direct_database_url), self.database_url)
    }
}

/// A request waits this long for a connection at most; then the database counts
/// as unavailable.
const ACQUIRE: Duration = Duration::from_secs(5);
/// A connection that was used this lately is taken as it is; one that rested longer
/// is asked first whether it is still there. Asking every time, sqlx's default, is a
/// round trip before each statement: docs/performance.md.
const FRESH: Duration = Duration::from_secs(1);

/// A pool of at most `connections`, which the server's view of activity shows under
/// `name`. Fails at once when the database can't be reached, so that a wrong address
/// shows at start-up.
///
/// # Errors
/// When the address is none, or the database does not answer.
pub async fn connect(url: &str, connections: u32, name: &str) -> anyhow::Result<PgPool> {
    pool(session(url)?, connections, name).await
}

/// The same for the engine of a worker, whose plans must not depend on how full the queue
/// was when they were made: see [`longhaul_worker::SESSION`].
///
/// # Errors
/// As [`connect`].
pub async fn connect_engine(url: &str, connections: u32, name: &str) -> anyhow::Result<PgPool> {
    pool(session(url)?.options(longhaul_worker::SESSION), connections, name).await
}

/// A machine that vanishes must not hold locks for hours.
fn session(url: &str) -> anyhow::Result<PgConnectOptions> {
    Ok(shape(url)?.options([
        ("idle_in_transaction_session_timeout", "60s"),
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
    ]))
}

/// The same through a pooler, which refuses settings of a session that it does not
/// know: those of [`connect`] and [`connect_engine`] belong to its own connections then
/// (docs/operations.md, "Through PgBouncer").
///
/// # Errors
/// As [`connect`].
pub(crate) async fn connect_pooled(url: &str, connections: u32, name: &str) -> anyhow::Result<PgPool> {
    pool(shape(url)?, connections, name).await
}

fn shape(url: &str) -> anyhow::Result<PgConnectOptions> {
    const SHAPE: &str = "DATABASE_URL is not a PostgreSQL address such as postgres://user:password@host/name";
    ensure!(url.starts_with("postgres://") || url.starts_with("postgresql://"), SHAPE);
    url.parse().context(SHAPE)
}

async fn pool(options: PgConnectOptions, connections: u32, name: &str) -> anyhow::Result<PgPool> {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .before_acquire(|connection, rested| {
            Box::pin(async move {
                if rested.idle_for > FRESH {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_with(options.application_name(name))
        .await
        .context("could not connect to the database; is DATABASE_URL right, and does PostgreSQL run?")
}
