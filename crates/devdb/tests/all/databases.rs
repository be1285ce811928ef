//! Databases for tests.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use longhaul_devdb::testing::TestDatabase;
use longhaul_devdb::{Error, Options, Server};
use sqlx::{Connection, PgConnection};

static MIGRATIONS: AtomicUsize = AtomicUsize::new(0);

async fn with_notes() -> TestDatabase {
    TestDatabase::new("notes", async |url: String| {
        MIGRATIONS.fetch_add(1, Ordering::Relaxed);
        let mut connection = PgConnection::connect(&url).await?;
        sqlx::query("CREATE TABLE notes (text text)").execute(&mut connection).await?;
        // Left open on purpose: it must not get in the way of the copies.
        std::mem::forget(connection);
        Ok::<_, sqlx::Error>(())
    })
    .await
    .expect("a test database")
}

async fn add_and_count(database: &TestDatabase) -> i64 {
    let mut connection = PgConnection::connect(database.url()).await.expect("it is there");
    sqlx::query("INSERT INTO notes VALUES ('hello')").execute(&mut connection).await.expect("the table was copied");
    sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(&mut connection).await.expect("the table can be read")
}

// Two tests, hence two runtimes, and either may come first.
#[tokio::test]
async fn databases_are_isolated() {
    let (one, two) = tokio::join!(with_notes(), with_notes());
    assert_ne!(one.name(), two.name());
    assert_eq!(add_and_count(&one).await, 1);
    assert_eq!(add_and_count(&two).await, 1);
    assert_eq!(MIGRATIONS.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_can_be_made_from_many_tasks_and_are_dropped() {
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async {
                let database = with_notes().await;
                assert_eq!(add_and_count(&database).await, 1);
                database.url().to_owned()
            })
        })
        .collect();
    for task in tasks {
        let url = task.await.expect("the task ends well");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while PgConnection::connect(&url).await.is_ok() {
            assert!(std::time::Instant::now() < deadline, "the database was never dropped");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_failing_migration_is_reported_and_can_be_tried_again() {
    let error = TestDatabase::new("broken", async |_| Err(io::Error::other("no such luck")))
        .await
        .expect_err("the migration fails");
    assert!(matches!(error, Error::Migration { .. }), "{error}");
    TestDatabase::new("broken", async |_| Ok::<_, io::Error>(())).await.expect("it works now");
}

/// Runs a test from above against a server of ours, as if it were the developer's.
#[tokio::test]
async fn a_given_server_is_used_and_tidied_up() {
    let server = Server::start(Options::temporary().durable(false)).await.expect("it starts");
    server.ensure_database("longhaul_test_1_dead_0").await.expect("a leftover of a dead run");
    let run = || {
        std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "databases::databases_are_isolated"])
            .env("DATABASE_URL", server.url("postgres") + "?application_name=ignored")
            .output()
            .expect("the test program runs")
    };
    let output = run();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}");

    let mut connection = PgConnection::connect(&server.admin_url()).await.expect("it runs");
    let names: Vec<String> = sqlx::query_scalar("SELECT datname::text FROM pg_database WHERE datname LIKE 'longhaul%'")
        .fetch_all(&mut connection)
        .await
        .expect("the names");
    assert!(!names.contains(&"longhaul_test_1_dead_0".to_owned()), "{names:?}");
    assert!(!names.is_empty(), "the run made its databases on this server");
}
