//! A database of its own for every test.
//!
//! All tests of a process share one server. It is started by the first of them
//! on a thread of its own, because each `#[tokio::test]` has a runtime that ends
//! with the test. It is never dropped, being held by a static: the watchdog
//! stops it when the process ends.
//!
//! With `DATABASE_URL` set, the tests use that server instead, with a role that
//! may create databases.
//!
//! A test that wants to restart or stop its server starts one of its own:
//! `Server::start(Options::temporary().durable(false))`.

mod server;

use std::fmt;

use tokio::sync::OnceCell;

use self::server::TestServer;
use crate::Error;

static SERVER: OnceCell<TestServer> = OnceCell::const_new();

/// A fresh database, dropped in the background when this value is dropped.
///
/// ```no_run
/// # async fn example() -> Result<(), longhaul_devdb::Error> {
/// use longhaul_devdb::testing::TestDatabase;
/// use sqlx::{Connection, PgConnection};
///
/// let database = TestDatabase::new("with-jobs", async |url: String| {
///     let mut connection = PgConnection::connect(&url).await?;
///     sqlx::query("CREATE TABLE jobs (id bigint)").execute(&mut connection).await?;
///     connection.close().await
/// })
/// .await?;
/// println!("{}", database.url());
/// # Ok(())
/// # }
/// ```
pub struct TestDatabase {
    name: String,
    url: String,
    server: &'static TestServer,
}

impl TestDatabase {
    /// Makes a database as a copy of the template database of `template`.
    ///
    /// The template is made at the first use of its key in this process:
    /// `migrate` is given the URL of an empty database to fill. It should close
    /// its connections; those left open are cut.
    ///
    /// # Errors
    ///
    /// Fails if no server can be started, or if the migration fails.
    pub async fn new<M, F, E>(template: &str, migrate: M) -> Result<Self, Error>
    where
        M: FnOnce(String) -> F,
        F: Future<Output = Result<(), E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let server = SERVER.get_or_try_init(TestServer::start).await?;
        let source =
            server.template(template).get_or_try_init(|| server.make_template(template, migrate)).await?.clone();
        let name = server.next_name();
        let create = format!(r#"CREATE DATABASE "{name}" TEMPLATE "{source}""#);
        server.execute(create).await?;
        let url = server.url(&name);
        Ok(Self { name, url, server })
    }

    /// The URL of the database, with user name and password.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The name of the database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

// By hand, so that the password does not get into a log.
impl fmt::Debug for TestDatabase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("TestDatabase").field(&self.name).finish()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        self.server.drop_database(&self.name);
    }
}
