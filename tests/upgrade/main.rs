//! A rolling upgrade: processes of an earlier release beside today's, on one schema.
//! `tests/upgrade/run` builds the earlier program and names it in `LONGHAUL_OLD`.

#[path = "../process/program.rs"]
#[expect(dead_code, reason = "shared with the other tests of processes")]
mod program;

use longhaul_devdb::testing::TestDatabase;
use longhaul_tests::until;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::program::{Process, address_in, run, run_program};

/// Today's program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul");

fn old() -> String {
    std::env::var("LONGHAUL_OLD").expect("LONGHAUL_OLD names the earlier program: use tests/upgrade/run")
}

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];
const WORK: [&str; 3] = ["work", "--heartbeat", "0.5"];

async fn serve(program: &str, url: &str) -> (Process, String) {
    let (process, line) = Process::start_program_until(program, &SERVE, url, "the API listens").await;
    (process, address_in(&line))
}

async fn work(program: &str, url: &str) -> Process {
    Process::start_program_until(program, &WORK, url, "worker started").await.0
}

/// A database of the earlier release with the sample of time zones.
async fn old_database() -> TestDatabase {
    let database = TestDatabase::new("empty", async |_url| Ok::<_, std::io::Error>(())).await.expect("a database");
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/timezones.ndjson");
    for arguments in [&["migrate"][..], &["import", sample]] {
        let (code, _, error) = run_program(&old(), arguments, database.url()).await;
        assert_eq!(code, Some(0), "{error}");
    }
    database
}

async fn migrate(url: &str) {
    let (code, _, error) = run(&["migrate"], url).await;
    assert_eq!(code, Some(0), "{error}");
}

struct Client(reqwest::Client);

impl Client {
    fn new() -> Self {
        Self(longhaul_tests::http_client().no_proxy().build().expect("a client"))
    }

    async fn post(&self, base_url: &str, path: &str, body: &Value) -> Value {
        let response = self.0.post(format!("{base_url}{path}")).json(body).send().await.expect("an answer");
        let status = response.status();
        let body = response.json().await.expect("JSON");
        assert!(status.is_success(), "{path}: {status} {body}");
        body
    }

    async fn get(&self, url: &str) -> Value {
        self.0.get(url).send().await.expect("an answer").json().await.expect("JSON")
    }

    /// A Reindex from its POST to its end, with a worker that runs.
    async fn reindex(&self, base_url: &str) {
        let accepted = self.post(base_url, "/api/backgroundtasks", &json!({"Type": "Reindex"})).await;
        let url = accepted["Self"].as_str().expect("an address").to_owned();
        let ended = until(&format!("{url} to end"), async || {
            let body = self.get(&url).await;
            (body["Complete"] == true).then_some(body)
        })
        .await;
        assert_eq!((&ended["State"], &ended["Result"]["Documents"]), (&json!("Succeeded"), &json!(559)), "{ended}");
    }

    /// Delayed, cancelled, and run again.
    async fn cancel_and_retry(&self, base_url: &str) {
        let later = json!({"Type": "Reindex", "DelaySeconds": 3600});
        let accepted = self.post(base_url, "/api/backgroundtasks", &later).await;
        let url = format!("{base_url}/api/backgroundtask/{}", accepted["Id"].as_str().expect("an id"));
        let cancelled: Value = self.0.delete(&url).send().await.expect("an answer").json().await.expect("JSON");
        assert_eq!(cancelled["State"], "Cancelled", "{cancelled}");
        let retried = self.0.post(format!("{url}/retry")).send().await.expect("an answer");
        assert_eq!(retried.status(), 202);
        until("the retried one to succeed", async || (self.get(&url).await["State"] == "Succeeded").then_some(()))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_and_new_processes_work_together_in_any_mixture_and_order() {
    let database = old_database().await;
    let url = database.url();
    let client = Client::new();
    let (old_api, old_url) = serve(&old(), url).await;
    let old_worker = work(&old(), url).await;
    client.reindex(&old_url).await;

    // The schema first, under running processes.
    migrate(url).await;
    client.reindex(&old_url).await;
    client.cancel_and_retry(&old_url).await;

    // New API, old worker.
    let (new_api, new_url) = serve(PROGRAM, url).await;
    client.reindex(&new_url).await;
    client.cancel_and_retry(&new_url).await;

    // New worker, old API.
    let new_worker = work(PROGRAM, url).await;
    assert_eq!(old_worker.terminate().await, Some(0));
    client.reindex(&old_url).await;
    client.cancel_and_retry(&old_url).await;

    // Both workers; a schedule of the old API that either fires.
    let second_old_worker = work(&old(), url).await;
    let schedule = json!({"Name": "often", "Cron": "* * * * * *", "Type": "Reindex", "Missed": "All"});
    client.post(&old_url, "/api/schedules", &schedule).await;
    let pool = PgPool::connect(url).await.expect("the database answers");
    until("some firings to end", async || {
        let ended = "SELECT count(*) FROM longhaul.tasks WHERE created_by = 'schedule:often' AND state = 'Succeeded'";
        (sqlx::query_scalar::<_, i64>(ended).fetch_one(&pool).await.expect("a count") >= 5).then_some(())
    })
    .await;
    client.reindex(&new_url).await;

    // A new task type waits for a new worker and is no harm to the old ones.
    let accepted = client
        .post(
            &new_url,
            "/api/backgroundtasks",
            &json!({"Type": "CancelTasks", "Parameters": {"States": ["Scheduled"]}}),
        )
        .await;
    let address = accepted["Self"].as_str().expect("an address");
    until("the new type to succeed", async || (client.get(address).await["State"] == "Succeeded").then_some(())).await;

    let failed: i64 = sqlx::query_scalar("SELECT count(*) FROM longhaul.tasks WHERE state = 'Failed'")
        .fetch_one(&pool)
        .await
        .expect("a count");
    assert_eq!(failed, 0);
    let once: bool = sqlx::query_scalar(
        "SELECT count(*) = extract(epoch FROM max(due_at) - min(due_at))::bigint + 1 FROM longhaul.firing",
    )
    .fetch_one(&pool)
    .await
    .expect("an answer");
    assert!(once, "each second fired once, whoever fired it");
    for process in [old_api, new_api, new_worker, second_old_worker] {
        assert_eq!(process.terminate().await, Some(0));
    }
}

#[tokio::test]
async fn new_processes_on_the_old_schema_say_what_to_run_and_change_nothing() {
    let database = old_database().await;
    for command in ["serve", "work"] {
        let arguments: &[&str] = if command == "serve" { &SERVE } else { &WORK };
        let (process, line) = Process::start_until(arguments, database.url(), "waits for the database").await;
        assert!(line.contains("longhaul migrate"), "{line}");
        assert_eq!(process.terminate().await, Some(0));
    }
    // The old ones go on.
    let (_api, old_url) = serve(&old(), database.url()).await;
    let _worker = work(&old(), database.url()).await;
    Client::new().reindex(&old_url).await;
}

#[tokio::test]
async fn the_old_program_refuses_to_migrate_the_new_schema_and_leaves_it_alone() {
    let database = old_database().await;
    migrate(database.url()).await;
    let (code, _, error) = run_program(&old(), &["migrate"], database.url()).await;
    assert_eq!(code, Some(1), "{error}");
    let (_api, new_url) = serve(PROGRAM, database.url()).await;
    let _worker = work(PROGRAM, database.url()).await;
    Client::new().reindex(&new_url).await;
}
