//! `MaxWaiting`: requests that would store tasks in a full queue are refused until it has drained.

use longhaul_model::{Outcome, Registry, RunContext, RunError, TaskType};
use longhaul_tests::{Stage, quick_worker, until};
use reqwest::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Does nothing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Small {}

impl TaskType for Small {
    const NAME: &'static str = "Small";
    const ID_PREFIX: &'static str = "small-";
    const QUEUE: &'static str = "narrow";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

fn registry() -> Registry {
    Registry::new().with::<Small>()
}

fn small() -> Value {
    json!({"Type": "Small", "Parameters": {}})
}

async fn limit(stage: &Stage, most: Value) {
    let url = format!("{}/api/queues/narrow", stage.base_url);
    let answer = stage.http.patch(url).json(&json!({"MaxWaiting": most})).send().await.expect("an answer");
    let status = answer.status();
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!((status.as_u16(), &body["MaxWaiting"]), (200, &most), "{body}");
}

async fn post(stage: &Stage, path: &str, body: &Value) -> Response {
    stage.http.post(format!("{}{path}", stage.base_url)).json(body).send().await.expect("an answer")
}

/// Starts tasks until one is refused; returns the answer.
async fn until_full(stage: &Stage) -> Response {
    until("the queue to be full", async || {
        let answer = stage.post(&small()).await;
        (answer.status() != 202).then_some(answer)
    })
    .await
}

async fn is_refused(answer: Response) {
    let (status, after) = (answer.status(), answer.headers().get("retry-after").cloned());
    let body: Value = answer.json().await.expect("a problem");
    assert_eq!((status.as_u16(), &body["code"]), (429, &json!("queue-full")), "{body}");
    let seconds: u32 = after.expect("Retry-After").to_str().expect("text").parse().expect("a number");
    assert!(seconds > 0);
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("narrow")), "{body}");
}

async fn until_accepted(stage: &Stage) {
    until("the queue to take tasks", async || (stage.post(&small()).await.status() == 202).then_some(())).await;
}

const TASKS: &str = "SELECT count(*) FROM longhaul.task";

#[tokio::test]
async fn a_full_queue_refuses_tasks_by_every_route_until_workers_have_taken_some() {
    let stage = Stage::with_registry(registry()).await;
    limit(&stage, json!(3)).await;
    let schedule = json!({"Name": "often", "Cron": "0 0 1 1 *", "Type": "Small"});
    assert_eq!(post(&stage, "/api/schedules", &schedule).await.status(), 201);
    let keyed = async || {
        let url = format!("{}/api/backgroundtasks", stage.base_url);
        let answer = stage.http.post(url).header("idempotency-key", "one").json(&small()).send().await;
        answer.expect("an answer")
    };
    let first: Value = keyed().await.json().await.expect("JSON");
    for _ in 0..2 {
        stage.start(&small()).await;
    }
    is_refused(until_full(&stage).await).await;

    let before: i64 = stage.value(TASKS).await;
    let mut delayed = small();
    delayed["DelaySeconds"] = json!(3600);
    is_refused(post(&stage, "/api/backgroundtask", &delayed).await).await;
    let elsewhere = json!({"Type": "Small", "Parameters": {}, "Queue": "wide"});
    is_refused(post(&stage, "/api/backgroundtasks/batch", &json!({"Tasks": [elsewhere, small()]})).await).await;
    is_refused(post(&stage, "/api/schedules/often/run", &Value::Null).await).await;
    assert_eq!(stage.value::<i64>(TASKS).await, before, "nothing was stored");

    let again = keyed().await;
    assert_eq!(again.status(), 202, "it is there already");
    assert_eq!(again.json::<Value>().await.expect("JSON")["Id"], first["Id"]);
    stage.start(&elsewhere).await;
    stage.value::<String>("SELECT longhaul.enqueue('Small')").await;
    let metrics = stage.metrics.expose(None).await.body;
    let line = "longhaul_queue_full_refusals_total{queue=\"narrow\"} 4";
    assert!(metrics.lines().any(|other| other == line), "{metrics}");

    let worker = stage.worker(quick_worker()).await;
    until_accepted(&stage).await;
    worker.stop().await;
}

#[tokio::test]
async fn the_tasks_of_a_batch_and_held_ones_fill_a_queue_and_a_limit_can_be_taken_away() {
    let stage = Stage::with_registry(registry()).await;
    limit(&stage, json!(50)).await;
    stage.execute("SELECT longhaul.set_queue('narrow', fair => true, paused => true)").await;
    let batch = json!({"Tasks": vec![small(); 50]});
    assert_eq!(post(&stage, "/api/backgroundtasks/batch", &batch).await.status(), 202);
    is_refused(until_full(&stage).await).await;
    stage.execute("SELECT longhaul.set_queue('narrow', paused => false, max_running => 0)").await;
    let worker = stage.worker(quick_worker()).await;
    until("tasks to be held", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.held").await >= 50).then_some(())
    })
    .await;
    is_refused(until_full(&stage).await).await;
    worker.stop().await;

    limit(&stage, Value::Null).await;
    until_accepted(&stage).await;
    limit(&stage, json!(0)).await;
    is_refused(until_full(&stage).await).await;
}

#[tokio::test]
async fn while_it_cant_be_known_what_is_full_tasks_are_accepted() {
    let stage = Stage::with_registry(registry()).await;
    limit(&stage, json!(1)).await;
    stage.start(&small()).await;
    is_refused(until_full(&stage).await).await;
    stage.execute("REVOKE SELECT ON longhaul.held FROM longhaul_api").await;
    until_accepted(&stage).await;
    stage.execute("GRANT SELECT ON longhaul.held TO longhaul_api").await;
    is_refused(until_full(&stage).await).await;
}

#[tokio::test]
async fn a_database_that_was_silent_for_the_look_blocks_no_tasks_afterwards() {
    let stage = Stage::builder(registry()).api_behind_proxy().start().await;
    let proxy = stage.proxy.as_ref().expect("a proxy");
    limit(&stage, json!(1)).await;
    stage.start(&small()).await;
    is_refused(until_full(&stage).await).await;
    proxy.silence_existing();
    stage.execute("SELECT longhaul.cancel(id) FROM longhaul.task").await;
    until_accepted(&stage).await;
    is_refused(until_full(&stage).await).await;
}

/// As a session of the release before does, which knows no `max_waiting`.
#[tokio::test]
async fn settings_of_the_release_before_leave_the_limit_alone() {
    let stage = Stage::with_registry(registry()).await;
    limit(&stage, json!(7)).await;
    stage.execute("SELECT longhaul.set_queue('narrow', false, 5, NULL, false, NULL, NULL)").await;
    let old = r#"{"Paused": false, "MaxRunning": 6, "MaxPerKey": null, "Fair": false, "RateCount": null, "RateSeconds": null}"#;
    stage.execute(format!("SELECT longhaul.change_queue('narrow', '{old}')")).await;
    let (_, queue) = stage.get("/api/queues/narrow").await;
    assert_eq!((&queue["MaxRunning"], &queue["MaxWaiting"]), (&json!(6), &json!(7)), "{queue}");
    stage.execute("SELECT longhaul.set_queue('narrow', max_waiting => NULL)").await;
    assert_eq!(stage.get("/api/queues/narrow").await.1["MaxWaiting"], Value::Null);
}
