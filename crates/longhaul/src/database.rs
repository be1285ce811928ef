//! Connecting to the database.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use anyhow::Context;
use longhaul_model::connect::{ACQUIRE, own_connection, pool_options};
use longhaul_model::hosts::Hosts;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, PgConnection, PgPool};

/// How long a handler waits for a shared connection.
const HANDLERS_ACQUIRE: Duration = Duration::from_secs(60);
/// What the statements are written for, whatever the role's defaults are: this isolation, and no
/// just-in-time compilation. It took up to two seconds for a statement that reads thousands of tasks in
/// 30 ms.
const SESSION: [(&str, &str); 2] = [("default_transaction_isolation", "read committed"), ("jit", "off")];

/// Opens a pool of at most `connections`, which `pg_stat_activity` shows under `name`. Fails at
/// once if the database is unreachable, so that a wrong address is noticed at start-up.
///
/// # Errors
/// If the address is invalid, or the database does not answer.
pub async fn connect(url: &str, connections: u32, name: &str) -> anyhow::Result<PgPool> {
    pool(session(url)?.map(|options| options.options(SESSION)), connections, name, ACQUIRE).await
}

/// The same for handlers, which wait for each other's connections rather than fail, and whose
/// sessions have the role's settings. `pooled`: as [`connect_pooled`].
///
/// # Errors
/// As [`connect`].
pub(crate) async fn connect_handlers(url: &str, connections: u32, pooled: bool) -> anyhow::Result<PgPool> {
    let options = if pooled { shape(url)? } else { session(url)? };
    pool(options, connections, "longhaul-handlers", HANDLERS_ACQUIRE).await
}

/// The same for the engine of a worker, whose plans must not depend on the queue depth at the time
/// of planning: see [`longhaul_worker::SESSION`].
///
/// # Errors
/// As [`connect`].
pub async fn connect_engine(url: &str, connections: u32, name: &str) -> anyhow::Result<PgPool> {
    pool(session(url)?.map(|options| options.options(longhaul_worker::SESSION)), connections, name, ACQUIRE).await
}

/// A machine that vanishes must not hold locks for hours.
fn session(url: &str) -> anyhow::Result<Hosts> {
    const SETTINGS: [(&str, &str); 4] = [
        ("idle_in_transaction_session_timeout", "60s"),
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
    ];
    Ok(shape(url)?.map(|options| options.options(SETTINGS)))
}

/// The same through a pooler, which refuses settings of a session that it does not
/// know: those of [`connect`] and [`connect_engine`] belong to its own connections then
/// (docs/operations.md, "PgBouncer").
///
/// # Errors
/// As [`connect`].
pub(crate) async fn connect_pooled(url: &str, connections: u32, name: &str) -> anyhow::Result<PgPool> {
    pool(shape(url)?, connections, name, ACQUIRE).await
}

fn shape(url: &str) -> anyhow::Result<Hosts> {
    Hosts::parse(url).context("DATABASE_URL is not a PostgreSQL address such as postgres://user:password@host/name")
}

async fn pool(hosts: Hosts, connections: u32, name: &str, patience: Duration) -> anyhow::Result<PgPool> {
    const FAILED: &str = "could not connect to the database; check DATABASE_URL and that PostgreSQL is running";
    let hosts = hosts.map(|options| options.application_name(name));
    match open(&hosts, connections, patience).await {
        // As libpq does: to prefer encryption is not to insist on it.
        Err(error) if matches!(hosts.first().get_ssl_mode(), PgSslMode::Prefer) && is_of_tls(&error) => {
            tracing::warn!(
                %error,
                "the server's certificate is not usable, so connections are not encrypted, as sslmode=prefer \
                 allows; give the server an X.509 v3 certificate, or set sslmode=disable"
            );
            let hosts = hosts.map(|options| options.ssl_mode(PgSslMode::Disable));
            open(&hosts, connections, patience).await.with_context(|| {
                format!("the server's certificate is not usable ({error}), and without TLS (sslmode=disable): {FAILED}")
            })
        }
        Err(error) if is_of_tls(&error) => Err(error).context(
            "the server's certificate is not usable: it must be an X.509 v3 certificate and meet the sslmode of \
             DATABASE_URL",
        ),
        opened => opened.context(FAILED),
    }
}

/// The handshake failed, rather than the network or the login.
fn is_of_tls(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// Opens the first connection outside of the pool. If nothing listens, the pool would retry until
/// its timeout, and then report only the timeout.
async fn open(hosts: &Hosts, connections: u32, patience: Duration) -> sqlx::Result<PgPool> {
    let first = tokio::time::timeout(patience, first(hosts)).await;
    let options = first.map_err(|_| {
        sqlx::Error::Io(Error::new(ErrorKind::TimedOut, format!("no answer within {} s", patience.as_secs())))
    })??;
    let pool = pool_options(connections, &options).acquire_timeout(patience).connect_with(options).await?;
    hosts.follow(&pool);
    Ok(pool)
}

/// The server to begin with: a single one whatever it says of itself, else the one that takes writes.
async fn first(hosts: &Hosts) -> sqlx::Result<PgConnectOptions> {
    let (options, connection) = match hosts.is_single() {
        true => (hosts.first().clone(), PgConnection::connect_with(hosts.first()).await?),
        false => hosts.primary().await?,
    };
    connection.close().await?;
    Ok(options)
}

/// A pool for listening connections, whose options lead to this address. It is tried first.
///
/// # Errors
/// As [`connect`].
pub(crate) async fn connect_listening(url: &str, name: &str) -> anyhow::Result<PgPool> {
    let tried = connect(url, 1, name).await?;
    let own = own_connection(&tried);
    tried.close().await;
    session(url)?.follow(&own);
    Ok(own)
}
