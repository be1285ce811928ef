//! The server that all tests of a process share, and the thread that it lives on.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection};
use tokio::sync::{OnceCell, mpsc, oneshot};

use crate::directory::random_hex;
use crate::{Error, Options, Server};

/// A statement for the server's thread, and where to send its result.
type Request = (String, Option<oneshot::Sender<Result<(), sqlx::Error>>>);

/// The server that all tests of this process share.
pub(super) struct TestServer {
    admin_url: String,
    /// The name of this process's run; all its databases' names start with it.
    run: String,
    counter: AtomicU64,
    templates: Mutex<HashMap<String, Arc<OnceCell<String>>>>,
    /// One thread executes everything in turn: a template must not be in use
    /// while it is copied.
    requests: mpsc::UnboundedSender<Request>,
}

impl TestServer {
    pub(super) async fn start() -> Result<Self, Error> {
        let run = format!("longhaul_test_{}_{}", std::process::id(), &random_hex()?[..8]);
        let (requests, receiver) = mpsc::unbounded_channel();
        let (started, start) = oneshot::channel();
        let run_name = run.clone();
        std::thread::Builder::new()
            .name("longhaul-devdb-testing".to_owned())
            .spawn(move || serve(&run_name, started, receiver))
            .map_err(Error::io("start a thread for", "the test server".as_ref()))?;
        Ok(Self {
            admin_url: start.await.map_err(|_| thread_is_gone()).map_err(failed("start"))??,
            run,
            counter: AtomicU64::new(0),
            templates: Mutex::default(),
            requests,
        })
    }

    pub(super) fn url(&self, database: &str) -> String {
        with_database(&self.admin_url, database)
    }

    pub(super) fn next_name(&self) -> String {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        format!("{}_{number}", self.run)
    }

    pub(super) fn template(&self, key: &str) -> Arc<OnceCell<String>> {
        let mut templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
        templates.entry(key.to_owned()).or_default().clone()
    }

    pub(super) async fn make_template<M, F, E>(&self, key: &str, migrate: M) -> Result<String, Error>
    where
        M: FnOnce(String) -> F,
        F: Future<Output = Result<(), E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let name = self.next_name();
        // Not from template1, to which somebody may have added things.
        self.execute(format!(r#"CREATE DATABASE "{name}" TEMPLATE template0"#)).await?;
        if let Err(error) = migrate(self.url(&name)).await {
            self.drop_database(&name);
            return Err(Error::Migration { template: key.to_owned(), source: error.into() });
        }
        self.execute(format!(r#"ALTER DATABASE "{name}" ALLOW_CONNECTIONS false"#)).await?;
        self.execute(format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
            .await?;
        Ok(name)
    }

    pub(super) async fn execute(&self, sql: String) -> Result<(), Error> {
        let action = format!("execute `{sql}`");
        let (sender, result) = oneshot::channel();
        // If the thread is gone, so is the sender, and the next line says so.
        self.requests.send((sql, Some(sender))).ok();
        result.await.unwrap_or_else(|_| Err(thread_is_gone())).map_err(Error::database(action))
    }

    pub(super) fn drop_database(&self, name: &str) {
        let sql = format!(r#"DROP DATABASE IF EXISTS "{name}" WITH (FORCE)"#);
        self.requests.send((sql, None)).ok();
    }
}

/// The server's thread: starts it, and executes the requests until the process ends.
fn serve(run: &str, started: oneshot::Sender<Result<String, Error>>, requests: mpsc::UnboundedReceiver<Request>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = Error::io("start a runtime for", "the test server".as_ref())(error);
            started.send(Err(error)).ok();
            return;
        }
    };
    runtime.block_on(async {
        match open(run).await {
            Ok((server, admin_url, connection)) => {
                started.send(Ok(admin_url.clone())).ok();
                execute_all(requests, run, &admin_url, connection).await;
                drop(server);
            }
            Err(error) => {
                started.send(Err(error)).ok();
            }
        }
    });
}

async fn open(run: &str) -> Result<(Option<Server>, String, PgConnection), Error> {
    let external = std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
    if let Some(url) = external {
        let mut connection = connect(&url, run).await.map_err(failed("connect to"))?;
        drop_leftovers(&mut connection).await.map_err(failed("tidy up"))?;
        return Ok((None, url, connection));
    }
    let server = Server::start(Options::temporary().durable(false)).await?;
    let url = server.admin_url();
    let connection = connect(&url, run).await.map_err(failed("connect to"))?;
    Ok((Some(server), url, connection))
}

/// The connection carries the name of the run: as long as it lasts, the run lives.
async fn connect(url: &str, run: &str) -> Result<PgConnection, sqlx::Error> {
    PgConnectOptions::from_str(url)?.application_name(run).connect().await
}

async fn execute_all(
    mut requests: mpsc::UnboundedReceiver<Request>,
    run: &str,
    admin_url: &str,
    connection: PgConnection,
) {
    let mut connection = Some(connection);
    while let Some((sql, reply)) = requests.recv().await {
        let result = async {
            let connection = match &mut connection {
                Some(connection) => connection,
                None => connection.insert(connect(admin_url, run).await?),
            };
            connection.execute(AssertSqlSafe(sql)).await.map(|_| ())
        }
        .await;
        if !matches!(result, Ok(()) | Err(sqlx::Error::Database(_))) {
            connection = None;
        }
        match reply {
            Some(reply) => drop(reply.send(result)),
            None => log(result),
        }
    }
}

/// On a server that outlives the tests: drops the databases of runs that were killed.
async fn drop_leftovers(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let names: Vec<String> = sqlx::query_scalar(
        r"SELECT datname::text FROM pg_database WHERE datname LIKE 'longhaul\_test\_%' AND NOT EXISTS
          (SELECT FROM pg_stat_activity
           WHERE application_name = regexp_replace(pg_database.datname, '_[0-9]+$', ''))",
    )
    .fetch_all(&mut *connection)
    .await?;
    for name in names {
        let sql = format!(r#"DROP DATABASE IF EXISTS "{name}" WITH (FORCE)"#);
        log(connection.execute(AssertSqlSafe(sql)).await.map(|_| ()));
    }
    Ok(())
}

fn log(result: Result<(), impl Display>) {
    if let Err(error) = result {
        tracing::debug!(%error, "could not drop a test database");
    }
}

fn failed(action: &str) -> impl FnOnce(sqlx::Error) -> Error {
    Error::database(format!("{action} the test server"))
}

fn thread_is_gone() -> sqlx::Error {
    sqlx::Error::WorkerCrashed
}

/// The same URL with another database.
fn with_database(url: &str, database: &str) -> String {
    let (address, query) = match url.split_once('?') {
        Some((address, query)) => (address, format!("?{query}")),
        None => (url, String::new()),
    };
    let host = address.find("://").map_or(0, |at| at + 3);
    let end = address[host..].find('/').map_or(address.len(), |at| host + at);
    format!("{}/{database}{query}", &address[..end])
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn only_the_database_of_a_url_changes() {
        for (url, expected) in [
            ("postgres://a:b@host:1/old", "postgres://a:b@host:1/new"),
            ("postgres://host", "postgres://host/new"),
            ("postgres://host/old?sslmode=disable", "postgres://host/new?sslmode=disable"),
            ("postgres:///?host=/run/postgresql", "postgres:///new?host=/run/postgresql"),
        ] {
            assert_eq!(with_database(url, "new"), expected);
        }
    }
}
