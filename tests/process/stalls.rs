//! What stands still is told, straight from the database and by the API alike.

use longhaul_tests::{Stage, quick_worker, until};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::doctor::look;

async fn execute(stage: &Stage, statements: &[&str]) {
    for statement in statements {
        let done = sqlx::raw_sql(AssertSqlSafe((*statement).to_owned())).execute(&stage.pool).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// What needs attention: check and text, by database and by HTTP. The logins differ, and test
/// servers are not durable.
async fn found(stage: &Stage) -> [Vec<(String, String)>; 2] {
    let mut both = [Vec::new(), Vec::new()];
    let ways = [("DATABASE_URL", stage.database_url()), ("LONGHAUL_URL", stage.base_url.as_str())];
    for (found, way) in both.iter_mut().zip(ways) {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let (_, findings) = look(&[], &[way]).await;
        for finding in findings {
            let (check, says) = (text(&finding["Check"]), text(&finding["Says"]));
            if finding["Level"] != "Ok" && !["rights", "durability"].contains(&check.as_str()) {
                found.push((check, says));
            }
        }
    }
    both
}

#[tokio::test]
async fn what_stands_still_is_told_by_database_and_by_http_alike() {
    let stage = Stage::new().await;
    stage.strands_tasks();
    let database: String = stage.value("SELECT current_database()::text").await;
    execute(
        &stage,
        &[
            "SELECT longhaul.enqueue('Reindex', run_at => now() + interval '1 hour')",
            "UPDATE longhaul.scheduled SET run_at = now() - interval '1 hour'",
            "INSERT INTO longhaul.lease (worker_id, number, task_ids, claimed_at)
             VALUES (4711, 1, ARRAY[gen_random_uuid()], now() - interval '2 hours')",
            "INSERT INTO longhaul.worker (name, version, queues, slots, heartbeat_ms)
             VALUES ('poor', '0.0.1', '{other}', 1, 600000)",
            "INSERT INTO longhaul.trouble (worker_id, part, failures, error, since)
             SELECT id, 'promoter', 42, 'as told', now() - interval '1 hour' FROM longhaul.worker",
            &format!("ALTER DATABASE \"{database}\" SET statement_timeout = '90s'"),
        ],
    )
    .await;
    let [by_database, by_http] = found(&stage).await;
    for (check, words) in [
        ("due", "1 task is due but not ready, the first for 1 h 0 min"),
        ("leases", "1 task is leased to worker 4711, which has been silent for 2 h 0 min"),
        ("services", "promoter of poor failed 42 times in a row, for 1 h 0 min: as told"),
        ("settings", "statement_timeout = 90s is set for the database"),
    ] {
        for found in [&by_database, &by_http] {
            assert!(found.iter().any(|(other, says)| other == check && says.starts_with(words)), "{check}: {found:#?}");
        }
    }
    assert_eq!(by_database, by_http);
    let metrics = stage.metrics.expose(None).await.body;
    for line in ["longhaul_failing_services 1", "longhaul_abandoned_tasks 1"] {
        assert!(metrics.lines().any(|other| other == line), "{line} is missing in {metrics}");
    }
    let overdue = metrics.lines().find_map(|line| line.strip_prefix("longhaul_scheduled_overdue_seconds "));
    let overdue: f64 = overdue.expect("how long it is overdue").parse().expect("a number");
    assert!(overdue >= 3_600.0, "{overdue}");
}

/// New sessions meet what was changed about the database.
async fn end_other_sessions(stage: &Stage) {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    execute(stage, &[sql]).await;
}

/// Connections that were used just now are taken as they are, so the first requests after their end
/// may fail.
async fn is_told_both_ways(stage: &Stage, check: &str, words: &str) {
    until(&format!("both to tell: {words}"), async || {
        let both = found(stage).await;
        let tells =
            |found: &Vec<(String, String)>| found.iter().any(|(other, says)| other == check && says.starts_with(words));
        both.iter().all(tells).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_database_that_accepts_no_writes_is_told_by_database_and_by_http_alike() {
    let stage = Stage::new().await;
    let database: String = stage.value("SELECT current_database()::text").await;
    execute(&stage, &[&format!("ALTER DATABASE \"{database}\" SET default_transaction_read_only = on")]).await;
    end_other_sessions(&stage).await;
    is_told_both_ways(&stage, "server", "default_transaction_read_only is on: nothing can be stored").await;
    execute(&stage, &[&format!("BEGIN READ WRITE; ALTER DATABASE \"{database}\" RESET ALL; COMMIT")]).await;
    end_other_sessions(&stage).await;
}

#[tokio::test]
async fn an_encoding_that_cant_store_every_text_is_told_by_database_and_by_http_alike() {
    let stage = Stage::new().await;
    let change = async |encoding: &str| {
        let sql = format!(
            "UPDATE pg_database SET encoding = pg_char_to_encoding('{encoding}') WHERE datname = current_database()"
        );
        execute(&stage, &[&sql]).await;
        end_other_sessions(&stage).await;
    };
    // Where the schema is there already: `migrate` refuses such a database.
    change("LATIN1").await;
    is_told_both_ways(&stage, "server", "the database's encoding is LATIN1: not every text can be stored").await;
    change("UTF8").await;
}

#[tokio::test]
async fn a_service_that_fails_again_and_again_is_told_until_it_succeeds() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    let troubled = async || {
        found(&stage).await.map(|found| {
            found.into_iter().any(|(check, says)| check == "services" && says.starts_with("scheduler of "))
        })
    };
    let failing = async || {
        let metrics = stage.metrics.expose(None).await.body;
        let line = "longhaul_maintenance_failing{service=\"scheduler\"} ";
        metrics
            .lines()
            .find_map(|other| other.strip_prefix(line))
            .map(|number| number.parse::<i64>().expect("a number"))
    };
    execute(&stage, &["REVOKE SELECT ON longhaul.schedule FROM longhaul_worker"]).await;
    until("doctor to tell, both ways", async || (troubled().await == [true, true]).then_some(())).await;
    assert!(failing().await >= Some(3), "the worker's own metrics tell, too");
    execute(&stage, &["GRANT SELECT ON longhaul.schedule TO longhaul_worker"]).await;
    until("it to be over", async || (troubled().await == [false, false]).then_some(())).await;
    assert_eq!(failing().await, Some(0));
    worker.stop().await;
}

#[tokio::test]
async fn lanes_that_fail_again_and_again_are_told_until_one_succeeds() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    let troubled = async || {
        found(&stage)
            .await
            .map(|found| found.into_iter().any(|(check, says)| check == "services" && says.starts_with("lanes of ")))
    };
    execute(&stage, &["REVOKE INSERT ON longhaul.lease FROM longhaul_worker"]).await;
    until("doctor to tell both ways", async || (troubled().await == [true; 2]).then_some(())).await;
    execute(&stage, &["GRANT INSERT ON longhaul.lease TO longhaul_worker"]).await;
    until("it to be over", async || (troubled().await == [false; 2]).then_some(())).await;
    worker.stop().await;
}
