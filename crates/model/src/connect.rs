//! Connections to the database that notice when the other side has fallen silent.
//!
//! A server may freeze, and a firewall may forget a connection and swallow what is sent. The
//! client then hears nothing, not even an error. So every connection of Longhaul is made
//! here: the operating system probes connections that rest and gives up those whose data is
//! not acknowledged; a connection that rested is asked before it is used, and one that is given
//! back is asked before it is kept, also whether a transaction is open, both with a time limit.
//! Statements have a deadline of their own ([`crate::store::within`]).

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

use crate::hosts::is_outdated;
use crate::store::failure::{may_be_lost, suspects_read_only_sessions};
use crate::store::migrate::read_only;
use crate::store::{DEADLINE, within};

/// How long a caller waits for a free connection of a pool, unless it says otherwise.
pub const ACQUIRE: Duration = Duration::from_secs(5);
/// A connection that was used this lately is taken as it is, unless another one was lost since; one
/// that rested longer is asked first whether it is still there. Asking every time, sqlx's default, is
/// a round trip before each statement (docs/adr/0008-performance-history.md).
const FRESH: Duration = Duration::from_secs(1);
/// How long a connection may take to say that it is still there.
const PING: Duration = Duration::from_secs(2);
/// A listening connection that has heard nothing for so long is asked whether it is still
/// there.
const SILENCE: Duration = Duration::from_secs(10);

/// What all pools have in common, for at most `connections` to this server.
#[must_use]
pub fn pool_options(connections: u32, server: &PgConnectOptions) -> PgPoolOptions {
    crate::socket::lead_to(server.get_port());
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .after_connect(|_, _| {
            Box::pin(async {
                if let Err(error) = crate::socket::tune() {
                    tracing::debug!(%error, "the sockets of database connections keep the system's settings");
                }
                Ok(())
            })
        })
        .before_acquire(|connection, rested| {
            Box::pin(async move {
                if is_outdated(rested.age) {
                    return Ok(false);
                }
                if suspects_read_only_sessions() {
                    return within(PING, async { Ok(read_only(&mut *connection).await?.is_none()) }).await;
                }
                if rested.idle_for > FRESH || may_be_lost(rested.idle_for) {
                    ping(connection).await?;
                }
                Ok(true)
            })
        })
        // A statement that was given up may have left it waiting for an answer that never
        // comes; an error closes it.
        .after_release(|connection, used| {
            Box::pin(async move { Ok(!is_outdated(used.age) && !within(PING, is_in_transaction(connection)).await?) })
        })
}

/// A pool of a single connection, made as those of `pool` are: for a connection that is held for
/// good, so that others do not go short.
#[must_use]
pub fn own_connection(pool: &PgPool) -> PgPool {
    let options = (*pool.connect_options()).clone();
    pool_options(1, &options).connect_lazy_with(options)
}

/// Asks whether a connection is still there.
///
/// # Errors
/// If it is broken, or does not answer within two seconds.
pub async fn ping(connection: &mut PgConnection) -> sqlx::Result<()> {
    within(PING, connection.ping()).await
}

/// Whether a transaction is open over this connection, though nobody has it in hand. sqlx 0.9.0
/// leaves one behind if a `begin` is dropped before its answer came
/// (<https://github.com/transact-rs/sqlx/issues/4393>): what the next owner of the connection does
/// would be part of it, and be lost with it.
///
/// The server says so after each statement, and sqlx gives that out by the outcome of
/// `begin_with` alone. The statement has no effect, costs little more than a ping, and fails in a
/// transaction that is aborted.
///
/// # Errors
/// If the connection is broken, or that transaction is aborted.
async fn is_in_transaction(connection: &mut PgConnection) -> sqlx::Result<bool> {
    match connection.begin_with("CLOSE ALL").await {
        Ok(_left_behind) => Ok(true),
        Err(sqlx::Error::BeginFailed) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A listening connection that notices when the server has fallen silent.
pub struct Listener {
    inner: PgListener,
    pool: PgPool,
    channels: Vec<String>,
}

impl Listener {
    /// Listens to these channels over a connection of its own ([`own_connection`]).
    ///
    /// # Errors
    /// If the database can't be reached within the deadline of a statement.
    pub async fn connect(pool: &PgPool, channels: &[&str]) -> sqlx::Result<Self> {
        let channels: Vec<String> = channels.iter().map(|channel| (*channel).to_owned()).collect();
        Ok(Self { inner: listen(pool, &channels).await?, pool: pool.clone(), channels })
    }

    /// Returns the next notification. `None` if the connection was lost and replaced: notifications
    /// in between are lost.
    ///
    /// # Errors
    /// If the connection is broken or silent. Create another one.
    pub async fn next(&mut self) -> sqlx::Result<Option<PgNotification>> {
        loop {
            match tokio::time::timeout(SILENCE, self.inner.try_recv()).await {
                Ok(Ok(None)) => {
                    // Where the pool's connections lead now, which may be another server.
                    self.inner = listen(&self.pool, &self.channels).await?;
                    return Ok(None);
                }
                Ok(received) => return received,
                Err(_elapsed) => {
                    within(PING, sqlx::query("SELECT").execute(&mut self.inner)).await?;
                }
            }
        }
    }
}

async fn listen(pool: &PgPool, channels: &[String]) -> sqlx::Result<PgListener> {
    let own = own_connection(pool);
    within(DEADLINE, async {
        let mut inner = PgListener::connect_with(&own).await?;
        inner.eager_reconnect(false);
        inner.listen_all(channels.iter().map(String::as_str)).await?;
        Ok(inner)
    })
    .await
}
