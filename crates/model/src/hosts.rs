//! The servers of one database, of which one takes writes: a primary and its standbys.
//!
//! An address may name several servers, as libpq's does
//! (`postgres://user@host1,host2:5433/name`). The first that takes writes is used. If another one is
//! promoted, new connections go there, and old ones are closed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::store::migrate::read_only;
use crate::store::within;

/// How often the server in use is asked whether it still takes writes.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long it may take to answer. A server that is slower for once stays the one in use, unless
/// another one takes writes.
const ANSWER: Duration = Duration::from_secs(1);
/// The wait while none takes writes.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a connection to a server may take.
const CONNECT: Duration = Duration::from_secs(2);

/// The servers that an address names, in its order, at least one.
#[derive(Debug, Clone)]
pub struct Hosts {
    each: Vec<PgConnectOptions>,
}

/// What is wrong with an address.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// It has another scheme, or none.
    #[error("it does not begin with postgres:// or postgresql://")]
    Form,
    /// A part is invalid.
    #[error("{0}")]
    Part(#[source] sqlx::Error),
    /// A server that takes no writes is of no use to a queue.
    #[error(
        "target_session_attrs={0} is not possible, because a queue needs a server that takes writes: leave it out, or set read-write"
    )]
    Target(String),
}

impl Hosts {
    /// Reads an address.
    ///
    /// # Errors
    /// If it is invalid.
    pub fn parse(address: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = address.split_once("://").ok_or(AddressError::Form)?;
        if !["postgres", "postgresql"].contains(&scheme) {
            return Err(AddressError::Form);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (login, hosts) = authority.rsplit_once('@').map_or(("", authority), |(login, hosts)| (login, hosts));
        let at = if login.is_empty() { "" } else { "@" };
        let path = without_target(path)?;
        let each = hosts
            .split(',')
            .map(|host| format!("{scheme}://{login}{at}{host}{path}").parse().map_err(AddressError::Part))
            .collect::<Result<_, _>>()?;
        Ok(Self { each })
    }

    /// Changes what connections to each of them have.
    #[must_use]
    pub fn map(self, change: impl Fn(PgConnectOptions) -> PgConnectOptions) -> Self {
        Self { each: self.each.into_iter().map(change).collect() }
    }

    /// The first of them.
    #[must_use]
    pub fn first(&self) -> &PgConnectOptions {
        &self.each[0]
    }

    /// Whether there is one only, which is then used whatever it says.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.each.len() == 1
    }

    /// The server that takes writes, with a connection to it.
    ///
    /// # Errors
    /// Why each does not: one error that names them all, or that of a single server.
    pub async fn primary(&self) -> sqlx::Result<(PgConnectOptions, PgConnection)> {
        let mut asked = JoinSet::new();
        for (place, options) in self.each.iter().cloned().enumerate() {
            asked.spawn(async move { (place, ask(&options).await, options) });
        }
        let mut refusals: Vec<(usize, String)> = Vec::new();
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok((_, Ok(connection), options)) => return Ok((options, connection)),
                Ok((_, Err(error), _)) if self.is_single() => return Err(error),
                Ok((place, Err(error), options)) => refusals.push((place, format!("{}: {error}", name(&options)))),
                Err(error) => refusals.push((usize::MAX, error.to_string())),
            }
        }
        refusals.sort_unstable();
        let each: Vec<String> = refusals.into_iter().map(|(_, refusal)| refusal).collect();
        Err(sqlx::Error::Io(std::io::Error::other(format!("no server takes writes ({})", each.join("; ")))))
    }

    /// Asks each of them again and again, until one takes writes. One that is silent keeps nobody
    /// from asking the others.
    async fn next_primary(&self) -> Option<(PgConnectOptions, PgConnection)> {
        let mut asked = JoinSet::new();
        for options in self.each.iter().cloned() {
            asked.spawn(async move {
                loop {
                    match ask(&options).await {
                        Ok(connection) => return (options, connection),
                        Err(error) => tracing::debug!(server = name(&options), %error, "it takes no writes"),
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        asked.join_next().await?.ok()
    }

    /// Lets a pool of connections to one of several servers follow the primary, until it is closed.
    /// Pools of the same servers share a watch.
    pub fn follow(&self, pool: &PgPool) {
        if self.is_single() {
            return;
        }
        FOLLOWS.store(true, Ordering::Relaxed);
        let names: Vec<String> = self.each.iter().map(name).collect();
        let mut watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner);
        let pools = watches.entry(names.join(",")).or_default();
        pools.retain(|pool| !pool.is_closed());
        pools.push(pool.clone());
        if pools.len() == 1 {
            tokio::spawn(keep_watch(self.clone(), names.join(",")));
        }
    }
}

/// Pools by the names of their servers. Each entry has a task that watches these servers; it removes
/// the entry once all its pools are closed.
static WATCHES: LazyLock<Mutex<HashMap<String, Vec<PgPool>>>> = LazyLock::new(Mutex::default);

/// When this process last changed to another server.
static CHANGED: LazyLock<watch::Sender<Option<Instant>>> = LazyLock::new(|| watch::Sender::new(None));

/// Whether pools of this process follow a primary.
static FOLLOWS: AtomicBool = AtomicBool::new(false);

/// Whether a connection, or the last use of one, is older than the last change to another server:
/// then it leads to one that is a standby now, or gone.
#[must_use]
pub fn is_outdated(age: Duration) -> bool {
    FOLLOWS.load(Ordering::Relaxed) && CHANGED.borrow().is_some_and(|changed| changed.elapsed() < age)
}

/// Waits until this process changes to another server.
pub(crate) async fn server_changed() {
    if !FOLLOWS.load(Ordering::Relaxed) || CHANGED.subscribe().changed().await.is_err() {
        std::future::pending().await
    }
}

/// Without the parameter `target_session_attrs`, which is libpq's.
fn without_target(path: &str) -> Result<String, AddressError> {
    let Some((path, query)) = path.split_once('?') else { return Ok(path.to_owned()) };
    let mut kept = Vec::new();
    for pair in query.split('&') {
        match pair.strip_prefix("target_session_attrs=") {
            Some("any" | "read-write" | "primary") => {}
            Some(other) => return Err(AddressError::Target(other.chars().take(40).collect())),
            None => kept.push(pair),
        }
    }
    Ok(if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) })
}

fn name(options: &PgConnectOptions) -> String {
    format!("{}:{}", options.get_host(), options.get_port())
}

/// Connects, and makes sure that the server takes writes.
async fn ask(options: &PgConnectOptions) -> sqlx::Result<PgConnection> {
    within(CONNECT, async {
        let mut connection = PgConnection::connect_with(options).await?;
        match read_only(&mut connection).await? {
            None => Ok(connection),
            Some(why) => Err(sqlx::Error::Protocol(why.to_owned())),
        }
    })
    .await
}

/// Asks the server in use every half second, and looks for another one when it no longer takes
/// writes.
async fn keep_watch(hosts: Hosts, names: String) {
    let mut own: Option<PgConnection> = None;
    while is_watched(&names) {
        if let Some(connection) = own.as_mut() {
            if within(ANSWER, read_only(connection)).await.is_ok_and(|why| why.is_none()) {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            own = None;
        }
        if let Some((options, connection)) = hosts.next_primary().await {
            lead_to(&names, &options);
            own = Some(connection);
        }
    }
}

/// Whether a pool still follows; else the watch is over.
fn is_watched(names: &str) -> bool {
    let mut watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(pools) = watches.get_mut(names) else { return false };
    pools.retain(|pool| !pool.is_closed());
    let any = !pools.is_empty();
    if !any {
        watches.remove(names);
    }
    any
}

/// New connections of the pools lead to this server from here on.
fn lead_to(names: &str, server: &PgConnectOptions) {
    crate::socket::lead_to(server.get_port());
    let watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut changed = false;
    for pool in watches.get(names).into_iter().flatten() {
        let options = pool.connect_options();
        if name(&options) != name(server) {
            changed = true;
            pool.set_connect_options((*options).clone().host(server.get_host()).port(server.get_port()));
        }
    }
    if changed {
        CHANGED.send_replace(Some(Instant::now()));
        tracing::warn!(server = name(server), "another server takes writes now; connections go there");
    }
}

#[cfg(test)]
mod tests {
    use super::{AddressError, Hosts};

    fn names(address: &str) -> Vec<String> {
        let hosts = Hosts::parse(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        hosts.each.iter().map(super::name).collect()
    }

    #[test]
    fn an_address_names_one_or_more_servers() {
        assert_eq!(names("postgres://u:p@a/db"), ["a:5432"]);
        assert_eq!(
            names("postgresql://u:p%40x@a,b:5433,[::1]:5434/db?sslmode=disable"),
            ["a:5432", "b:5433", "[::1]:5434"]
        );
        assert_eq!(names("postgres://a:1,b:2?target_session_attrs=read-write"), ["a:1", "b:2"]);
        let hosts = Hosts::parse("postgres://u@a,b/db?target_session_attrs=primary&application_name=x").expect("valid");
        assert!(hosts.each.iter().all(|options| options.get_database() == Some("db") && options.get_username() == "u"));
        assert_eq!(hosts.first().get_application_name(), Some("x"));
    }

    #[test]
    fn what_is_no_address_or_leads_to_standbys_is_refused() {
        assert!(matches!(Hosts::parse("mysql://a/db"), Err(AddressError::Form)));
        assert!(matches!(Hosts::parse("a,b/db"), Err(AddressError::Form)));
        assert!(matches!(Hosts::parse("postgres://a:x,b/db"), Err(AddressError::Part(_))));
        for target in ["standby", "read-only", "prefer-standby", ""] {
            let address = format!("postgres://a,b/db?target_session_attrs={target}");
            assert!(matches!(Hosts::parse(&address), Err(AddressError::Target(_))), "{address}");
        }
    }
}
