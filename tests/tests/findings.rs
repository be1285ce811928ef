//! Findings and metrics of a database that can't do its work, or of which nobody does it.

use longhaul_devdb::testing::TestDatabase;
use longhaul_model::store::findings::{Examination, Level};
use longhaul_model::store::migrate::QUEUE;
use longhaul_tests::{Scrape, Stage, quick_worker, until};
use longhaul_worker::Settings;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

/// The problems of a check of the database at `url`.
async fn problems(url: &str, check: &str) -> Vec<(String, Option<String>)> {
    let pool = PgPool::connect(url).await.expect("the database answers");
    let report = Examination::new("longhaul", vec![&QUEUE]).run(&pool).await.expect("an examination");
    pool.close().await;
    let problems = report.findings.into_iter().filter(|found| found.check == check && found.level == Level::Problem);
    problems.map(|found| (found.says, found.mend)).collect()
}

async fn execute(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql.clone()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// As an old primary after a failover, or one that an operator has closed.
#[tokio::test]
async fn a_database_that_is_read_only_by_default_is_found_and_mended() {
    let stage = Stage::new().await;
    let database: String = stage.value("SELECT current_database()::text").await;
    assert_eq!(problems(stage.database_url(), "server").await, []);
    let mut connection = PgConnection::connect(stage.database_url()).await.expect("a connection");
    execute(&mut connection, format!("ALTER DATABASE \"{database}\" SET default_transaction_read_only = on")).await;
    let found = problems(stage.database_url(), "server").await;
    let (says, mend) = found.first().expect("a problem");
    assert_eq!(says, "default_transaction_read_only is on: nothing can be stored; is it an old primary?");
    assert!(mend.as_deref().is_some_and(|mend| mend.contains("RESET default_transaction_read_only")), "{mend:?}");
    execute(&mut connection, format!("ALTER DATABASE \"{database}\" RESET default_transaction_read_only")).await;
    assert_eq!(problems(stage.database_url(), "server").await, []);
}

#[tokio::test]
async fn an_encoding_in_which_not_every_text_can_be_stored_is_found() {
    let database = TestDatabase::new("empty", async |_url| Ok::<_, std::io::Error>(())).await.expect("a database");
    let mut connection = PgConnection::connect(database.url()).await.expect("a connection");
    let name: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut connection).await.expect("a name");
    let latin = format!("{name}_latin");
    execute(
        &mut connection,
        format!("CREATE DATABASE \"{latin}\" TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"),
    )
    .await;
    let found = problems(&database.url().replace(&name, &latin), "server").await;
    execute(&mut connection, format!("DROP DATABASE \"{latin}\" WITH (FORCE)")).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "the database's encoding is LATIN1: not every text can be stored");
}

#[tokio::test]
async fn a_queue_that_nobody_serves_is_measured_until_somebody_does() {
    let stage = Stage::new().await;
    stage.value::<String>("SELECT longhaul.enqueue('Reindex', queue => 'nobodys')").await;
    let unserved = async || {
        let scrape = Scrape::read(&stage.metrics.expose(None).await.body);
        scrape.sum("longhaul_queue_unserved", &["queue=\"nobodys\""])
    };
    until("the metric to tell", async || (unserved().await == 1.0).then_some(())).await;
    let worker = stage.worker(Settings { queues: vec!["nobodys".to_owned()], ..quick_worker() }).await;
    until("the metric to be back", async || (unserved().await == 0.0).then_some(())).await;
    worker.stop().await;
}
