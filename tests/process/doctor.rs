//! `doctor` finds what is wrong, and what it says mends it.

use longhaul_devdb::testing::TestDatabase;
use longhaul_devdb::{Options, Server};
use longhaul_tests::{Stage, quick_worker, shipped, until};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::program::{Process, run_with};

/// What `doctor` says; and its exit code.
pub(crate) async fn look(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, Vec<Value>) {
    let arguments = [&["doctor", "--json"], arguments].concat();
    let (code, out, error) = run_with(crate::PROGRAM, &arguments, environment).await;
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code:?} {out}{error}"));
    (code, report["Findings"].as_array().expect("findings").clone())
}

/// Findings of a check that need attention.
async fn faults(stage: &Stage, check: &str, arguments: &[&str]) -> Vec<Value> {
    let (_, findings) = look(arguments, &[("DATABASE_URL", stage.database_url())]).await;
    findings.into_iter().filter(|finding| finding["Check"] == check && finding["Level"] != "Ok").collect()
}

pub(crate) fn mend(finding: &Value) -> String {
    finding["Mend"].as_str().expect("what mends it").to_owned()
}

async fn execute(stage: &Stage, sql: String) {
    sqlx::query(AssertSqlSafe(sql)).execute(&stage.pool).await.expect("the SQL");
}

#[tokio::test]
async fn nothing_is_wrong_with_a_database_in_order() {
    let server = Server::start(Options::temporary()).await.expect("a server");
    let url = server.admin_url();
    let environment = [("DATABASE_URL", url.as_str())];
    assert_eq!(run_with(crate::PROGRAM, &["migrate"], &environment).await.0, Some(0));
    let (_worker, _) = Process::start_until(&["work"], &url, "worker started").await;
    let (code, findings) = look(&["--strict"], &environment).await;
    assert_eq!(code, Some(0), "{findings:#?}");
    assert!(findings.iter().all(|finding| finding["Level"] == "Ok"), "{findings:#?}");
    let (code, out, _) = run_with(crate::PROGRAM, &["doctor"], &environment).await;
    assert_eq!(code, Some(0));
    assert!(out.contains("notifications") && out.contains("0 problems, 0 warnings"), "{out}");
}

#[tokio::test]
async fn autovacuum_that_is_off_for_a_table_is_found_and_mended() {
    let stage = Stage::new().await;
    execute(&stage, "ALTER TABLE longhaul.ready SET (autovacuum_enabled = off)".to_owned()).await;
    let found = faults(&stage, "autovacuum", &[]).await;
    assert!(found[0]["Says"].as_str().expect("text").contains("longhaul.ready"), "{found:?}");
    execute(&stage, mend(&found[0])).await;
    assert!(faults(&stage, "autovacuum", &[]).await.is_empty());
}

#[tokio::test]
async fn a_database_that_is_not_migrated_is_found_and_mended() {
    let database = TestDatabase::new("empty", async |_url| Ok::<_, std::io::Error>(())).await.expect("a database");
    let environment = [("DATABASE_URL", database.url())];
    let missing = async || {
        let (code, findings) = look(&[], &environment).await;
        assert_eq!(code, Some(6), "test servers are not durable");
        findings.into_iter().find(|finding| finding["Check"] == "migrations").expect("migrations")
    };
    let found = missing().await;
    assert_eq!((&found["Level"], mend(&found).as_str()), (&"Problem".into(), "longhaul migrate"));
    assert_eq!(run_with(crate::PROGRAM, &["migrate"], &environment).await.0, Some(0));
    assert_eq!(missing().await["Level"], "Ok");
}

#[tokio::test]
async fn a_long_transaction_is_found_and_ended() {
    let stage = Stage::new().await;
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *transaction).await.expect("a process");
    let ours = async || {
        let found = faults(&stage, "transactions", &["--long-transaction", "0"]).await;
        found.into_iter().find(|finding| mend(finding) == format!("SELECT pg_terminate_backend({pid})"))
    };
    let found = ours().await.expect("the transaction");
    assert!(faults(&stage, "transactions", &["--long-transaction", "3000"]).await.is_empty());
    execute(&stage, mend(&found)).await;
    until("the transaction to be gone", async || ours().await.is_none().then_some(())).await;
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_found() {
    let stage = Stage::new().await;
    let deed = |who: &str, address: &str| {
        format!("INSERT INTO longhaul.audit (who, address, deed) VALUES ('key:{who}', '{address}', 'startTask')")
    };
    for who in ["ada", "bob"] {
        execute(&stage, deed(who, "127.0.0.1")).await;
    }
    assert!(faults(&stage, "clients", &[]).await.is_empty());
    execute(&stage, deed("eve", "::1")).await;
    let found = faults(&stage, "clients", &[]).await;
    assert_eq!(found[0]["Level"], "Warning", "{found:?}");
    assert!(mend(&found[0]).contains("--trusted-proxy"), "{found:?}");
    execute(&stage, deed("eve", "192.0.2.1")).await;
    assert!(faults(&stage, "clients", &[]).await.is_empty());
}

#[tokio::test]
async fn tasks_that_nobody_will_run_are_found() {
    let stage = Stage::new().await;
    stage.value::<String>("SELECT longhaul.enqueue('Reindex')").await;
    let found = faults(&stage, "workers", &[]).await;
    assert_eq!((&found[0]["Level"], mend(&found[0]).as_str()), (&"Problem".into(), "longhaul work --queue default"));
    execute(&stage, "SELECT longhaul.set_queue('default', paused => true)".to_owned()).await;
    let found = faults(&stage, "queues", &[]).await;
    assert_eq!((&found[0]["Level"], mend(&found[0]).as_str()), (&"Warning".into(), "longhaul queue resume default"));
    let resumed =
        run_with(crate::PROGRAM, &["queue", "resume", "default"], &[("DATABASE_URL", stage.database_url())]).await;
    assert_eq!(resumed.0, Some(0));
    let _worker = stage.worker(quick_worker()).await;
    until("a worker to be seen", async || faults(&stage, "workers", &[]).await.is_empty().then_some(())).await;
    assert!(faults(&stage, "queues", &[]).await.is_empty());
}

#[tokio::test]
async fn rows_that_a_service_cant_process_are_found() {
    let stage = Stage::new().await;
    let id: String = stage.value("SELECT longhaul.enqueue('Reindex', run_at => now() + interval '1 h')").await;
    assert!(faults(&stage, "set aside", &[]).await.is_empty());
    execute(
        &stage,
        "INSERT INTO longhaul.set_aside (service, id, error, next_at)
         SELECT 'promoter', id, 'index row size 3800 exceeds the maximum', now() + interval '1 min' FROM longhaul.task"
            .to_owned(),
    )
    .await;
    let found = faults(&stage, "set aside", &[]).await;
    let says = found[0]["Says"].as_str().expect("text");
    assert!(says.starts_with(&format!("promoter can't process {id}")) && says.contains("index row size"), "{found:?}");
    assert_eq!(found[0]["Level"], "Problem");
}

#[tokio::test]
async fn what_a_dead_worker_holds_is_found_and_put_back_by_a_living_one() {
    let stage = Stage::new().await;
    stage.value::<String>("SELECT longhaul.enqueue('Reindex')").await;
    execute(
        &stage,
        "WITH gone AS (INSERT INTO longhaul.worker (name, queues, slots, version, heartbeat_ms, heartbeat_at)
                       VALUES ('gone', '{default}', 1, '0', 100, now() - interval '1 hour') RETURNING id),
              taken AS (DELETE FROM longhaul.ready RETURNING id)
         INSERT INTO longhaul.lease (worker_id, number, task_ids) SELECT gone.id, 1, ARRAY[taken.id] FROM gone, taken"
            .to_owned(),
    )
    .await;
    let found = faults(&stage, "leases", &[]).await;
    assert!(found[0]["Says"].as_str().expect("text").starts_with("1 task is leased to gone"), "{found:?}");
    let _worker = stage.worker(quick_worker()).await;
    until("the lease to be put back", async || faults(&stage, "leases", &[]).await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn settings_that_do_not_fit_and_files_that_others_read_are_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("longhaul.toml");
    std::fs::write(&path, "database-url = \"postgres://nobody@127.0.0.1:1/nothing\"\n").expect("a file");
    let path = path.to_str().expect("a path");
    std::process::Command::new("chmod").args(["644", path]).status().expect("chmod runs");
    let environment = [("LONGHAUL_CONFIG", path), ("LONGHAUL_SLOTS", "0")];
    let (code, findings) = look(&[], &environment).await;
    assert_eq!(code, Some(6));
    let says = |check: &str, level: &str, text: &str| {
        findings.iter().any(|finding| {
            finding["Check"] == check
                && finding["Level"] == level
                && finding["Says"].as_str().expect("text").contains(text)
        })
    };
    assert!(says("configuration", "Problem", "LONGHAUL_SLOTS is invalid"), "{findings:#?}");
    assert!(says("configuration", "Warning", "other users may read it"), "{findings:#?}");
    assert!(says("connection", "Problem", "could not connect"), "{findings:#?}");
    std::process::Command::new("chmod").args(["600", path]).status().expect("chmod runs");
    let (_, findings) = look(&[], &[("LONGHAUL_CONFIG", path)]).await;
    assert!(findings.iter().any(|finding| finding["Check"] == "configuration" && finding["Level"] == "Ok"));
}

#[tokio::test]
async fn an_api_is_examined_where_there_is_no_way_to_the_database() {
    // One that is durable, so that only what is wrong with the fleet is told.
    let server = Server::start(Options::temporary()).await.expect("a server");
    server.ensure_database("examined").await.expect("a database");
    let stage = Stage::builder(shipped::registry()).database(&server.url("examined")).start().await;
    let url = [("LONGHAUL_URL", stage.base_url.as_str())];
    stage.value::<String>("SELECT longhaul.enqueue('Reindex')").await;
    let (code, findings) = look(&[], &url).await;
    assert_eq!(code, Some(6), "{findings:#?}");
    assert!(findings.iter().any(|finding| finding["Says"] == "no worker is alive, and 1 task waits"), "{findings:#?}");
    let _worker = stage.worker(quick_worker()).await;
    until("the API to see the worker", async || (look(&[], &url).await.0 == Some(0)).then_some(())).await;
    let (code, findings) = look(&[], &[("LONGHAUL_URL", "http://127.0.0.1:1")]).await;
    assert_eq!((code, &findings[1]["Level"]), (Some(6), &"Problem".into()), "{findings:#?}");
}

#[tokio::test]
async fn contradictions_are_looked_for_on_demand_by_database_and_by_http_alike() {
    let stage = Stage::new().await;
    stage.strands_tasks();
    let id: String = stage.value("SELECT longhaul.enqueue('Reindex')").await;
    execute(&stage, "DELETE FROM longhaul.ready".to_owned()).await;
    for way in [("DATABASE_URL", stage.database_url()), ("LONGHAUL_URL", stage.base_url.as_str())] {
        let places = async |arguments: &[&str]| {
            let (_, findings) = look(arguments, &[way]).await;
            findings.into_iter().find(|finding| finding["Check"] == "places").expect("places")
        };
        let (without, with) = (places(&[]).await, places(&["--all-places"]).await);
        assert_eq!(without["Level"], "Ok", "{way:?}: {without}");
        let guid = id.trim_start_matches("reindex-");
        let says = format!("task {guid}: it is open (Queued) and in no place");
        assert_eq!((&with["Level"], &with["Says"]), (&"Problem".into(), &says.into()), "{way:?}");
    }
}
