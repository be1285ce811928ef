//! API and worker as processes of their own.

use longhaul_tests::{Scrape, Stage, fill_project, until};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

use crate::program::{Process, address_in, run};

const PROJECT: Uuid = uuid!("c651ed19-5375-475a-a539-9f6401467130");

#[tokio::test]
async fn a_worker_shows_its_metrics_at_an_address_of_its_own() {
    let stage = Stage::new().await;
    let arguments = ["work", "--metrics-listen", "127.0.0.1:0"];
    let (worker, line) = Process::start_until(&arguments, &stage.logins().worker, "metrics are served").await;
    let at = line.find("127.0.0.1:").expect("an address");
    let address: String = line[at..].chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
    let get = async |path: &str| {
        // The worker's own listener is no part of the API that the stage's client knows.
        let answer = longhaul_tests::get(format!("http://{address}{path}")).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.expect("text")
    };
    assert_eq!(get("/health/live").await, r#"{"status":"live"}"#);
    let started = stage.start(&json!({"Type": "Reindex", "Parameters": {}})).await;
    assert_eq!(stage.ended(&started).await["State"], "Succeeded");
    until("the end to be counted", async || {
        let found = Scrape::read(&get("/metrics").await);
        let ended = ["type=\"Reindex\"", "end=\"succeeded\""];
        (found.sum("longhaul_attempts_ended_total", &ended) == 1.0).then_some(())
    })
    .await;
    assert_eq!(worker.terminate().await, Some(0));
}

#[tokio::test]
async fn api_and_two_workers_serve_from_processes_of_their_own_and_stop_in_order() {
    let stage = Stage::new().await;
    fill_project(&stage.pool, PROJECT, 50).await;
    let logins = stage.logins();
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let (api, line) = Process::start_until(&serve, &logins.api, "the API listens").await;
    let base_url = address_in(&line);
    let one = Process::start(&["work", "--name", "one"], &logins.worker);
    let two = Process::start(&["work", "--name", "two", "--slots", "2"], &logins.worker);

    let response = stage
        .http
        .post(format!("{base_url}/api/backgroundtasks"))
        .json(&json!({"Type": "Reindex", "Parameters": {"ProjectId": PROJECT}}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 202);
    let body: Value = response.json().await.expect("JSON");
    assert!(body["Self"].as_str().expect("an address").starts_with(&base_url));
    assert_eq!(stage.ended(&body).await["State"], "Succeeded");
    until("both workers to be seen alive", async || {
        let alive: i64 =
            stage.value("SELECT count(*) FROM longhaul.workers WHERE state = 'alive' AND name IN ('one', 'two')").await;
        (alive == 2).then_some(())
    })
    .await;

    assert_eq!(one.terminate().await, Some(0));
    assert_eq!(two.terminate().await, Some(0));
    assert_eq!(api.terminate().await, Some(0));
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.workers WHERE state = 'stopped'").await, 2);
}

#[tokio::test]
async fn migrate_and_import_can_be_repeated() {
    let stage = Stage::new().await;
    let url = &stage.logins().worker;
    for _ in 0..2 {
        assert_eq!(run(&["migrate"], stage.database_url()).await.0, Some(0));
        let (code, out, error) =
            run(&["import", concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/timezones.ndjson")], url).await;
        assert_eq!(code, Some(0), "{error}");
        assert!(out.contains("Imported 1 project, 559 entities"), "{out}");
    }
}
