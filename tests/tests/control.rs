//! What people and limits do to tasks: cancel, retry, keys, gates.

use std::time::Duration;

use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::queue::{QueueSettings, pause_type, set};
use longhaul_model::store::rescue::POISON;
use longhaul_model::{Outcome, Registry, RetryPolicy, RunContext, RunError, TaskType, TaskTypeInfo, same_parameters};
use longhaul_tests::{Stage, mortal_worker, quick_worker, until};
use longhaul_worker::Settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Writes down when it began and ended.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Span {
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    millis: u64,
}

impl TaskType for Span {
    const NAME: &'static str = "Span";
    const ID_PREFIX: &'static str = "span-";
    const QUEUE: &'static str = "spans";

    fn key(&self) -> Option<String> {
        self.key.clone()
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        sqlx::query("INSERT INTO span (task, key) VALUES ($1, $2)")
            .bind(context.task_id())
            .bind(&self.key)
            .execute(context.pool())
            .await?;
        tokio::time::sleep(Duration::from_millis(self.millis)).await;
        sqlx::query("UPDATE span SET ended_at = clock_timestamp() WHERE task = $1")
            .bind(context.task_id())
            .execute(context.pool())
            .await?;
        Ok(Outcome::done())
    }
}

/// Waits for its cancellation, and writes down when it heard of it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Patient {
    #[serde(default)]
    deaf: bool,
    #[serde(default)]
    fails_first: bool,
}

impl TaskType for Patient {
    const NAME: &'static str = "Patient";
    const ID_PREFIX: &'static str = "patient-";
    const RETRY: RetryPolicy = RetryPolicy { max_attempts: 1, ..RetryPolicy::DEFAULT };

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        context.progress().set_message("waiting");
        if self.fails_first {
            context.save_checkpoint(&context.attempt())?;
            return match context.checkpoint::<u16>()? {
                Some(failed) => Outcome::with_result(failed),
                None => Err(std::io::Error::other("the first time").into()),
            };
        }
        if self.deaf {
            std::future::pending::<()>().await;
        }
        context.cancellation().cancelled().await;
        sqlx::query("INSERT INTO span (task) VALUES ($1)").bind(context.task_id()).execute(context.pool()).await?;
        Ok(Outcome::Cancelled)
    }
}

/// Takes longer than it may.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Slow {}

impl TaskType for Slow {
    const NAME: &'static str = "Slow";
    const ID_PREFIX: &'static str = "slow-";
    const TIMEOUT: Option<Duration> = Some(Duration::from_millis(50));
    const RETRY: RetryPolicy =
        RetryPolicy { max_attempts: 2, first_delay: Duration::from_millis(1), max_delay: Duration::from_millis(1) };

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        std::future::pending().await
    }
}

/// Only one with the same parameters may be open.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Only {
    number: u32,
}

impl TaskType for Only {
    const NAME: &'static str = "Only";
    const ID_PREFIX: &'static str = "only-";

    fn unique_key(&self) -> Option<String> {
        same_parameters(self)
    }

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

/// Only one in a time, whether it has ended or not.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Seldom {}

impl TaskType for Seldom {
    const NAME: &'static str = "Seldom";
    const ID_PREFIX: &'static str = "seldom-";
    const UNIQUE_FOR: Option<Duration> = Some(Duration::from_millis(1_500));

    fn unique_key(&self) -> Option<String> {
        Some(String::new())
    }

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

fn registry() -> Registry {
    Registry::new().with::<Span>().with::<Patient>().with::<Slow>().with::<Only>().with::<Seldom>()
}

fn span() -> TaskTypeInfo {
    *registry().get("Span").expect("registered").info()
}

async fn stage() -> Stage {
    let stage = Stage::with_registry(registry()).await;
    sqlx::raw_sql(
        "CREATE TABLE span (number bigserial, task uuid, key text, began_at timestamptz DEFAULT clock_timestamp(), ended_at timestamptz)",
    )
    .execute(&stage.pool)
    .await
    .expect("a table");
    stage
}

async fn enqueue_spans(stage: &Stage, key: Option<&str>, millis: u64, count: usize) {
    let clock = stage.clock().await;
    let parameters = json!({"key": key, "millis": millis});
    let tasks: Vec<NewTask> = (0..count)
        .map(|_| NewTask { key: key.map(str::to_owned), ..NewTask::new(clock.new_id(), span(), parameters.clone()) })
        .collect();
    for batch in tasks.chunks(5_000) {
        enqueue(&stage.pool, batch).await.expect("stored");
    }
}

async fn set_queue(stage: &Stage, settings: QueueSettings) {
    set(&stage.pool, "spans", &settings).await.expect("set");
}

async fn open(stage: &Stage) -> i64 {
    stage.value("SELECT count(*) FROM longhaul.task WHERE finished_at IS NULL").await
}

async fn all_ended(stage: &Stage) {
    until("all tasks to end", async || (open(stage).await == 0).then_some(())).await;
}

async fn send(stage: &Stage, method: reqwest::Method, address: &str) -> (u16, Value) {
    let url = if address.starts_with('/') { format!("{}{address}", stage.base_url) } else { address.to_owned() };
    let response = stage.http.request(method, url).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

async fn cancel(stage: &Stage, body: &Value) -> (u16, Value) {
    send(stage, reqwest::Method::DELETE, body["Self"].as_str().expect("an address")).await
}

async fn waiting(stage: &Stage, body: &Value) {
    until("it to run", async || {
        let (_, body) = stage.get(body["Self"].as_str().expect("an address")).await;
        (body["Message"] == "waiting").then_some(())
    })
    .await;
}

/// The most tasks that were at work at one time, by what they wrote down.
async fn most_at_once(stage: &Stage, per_key: bool) -> i64 {
    let sql = format!(
        "SELECT max((SELECT count(*) FROM span b WHERE b.began_at <= a.began_at AND b.ended_at > a.began_at {}))
           FROM span a",
        if per_key { "AND b.key IS NOT DISTINCT FROM a.key" } else { "" }
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&stage.pool).await.expect("a number")
}

#[tokio::test]
async fn what_waits_is_cancelled_at_once_wherever_it_waits() {
    let stage = stage().await;
    let queued = stage.start(&json!({"Type": "Patient", "Parameters": {}})).await;
    set_queue(&stage, QueueSettings { paused: true, ..Default::default() }).await;
    let held = stage.start(&json!({"Type": "Span", "Parameters": {"key": "k"}})).await;
    assert_eq!(stage.value::<i64>("SELECT held FROM longhaul.queues WHERE queue = 'spans'").await, 1);
    for body in [&queued, &held] {
        for _ in 0..2 {
            let (status, body) = cancel(&stage, body).await;
            assert_eq!((status, &body["State"], &body["Complete"]), (200, &json!("Cancelled"), &json!(true)));
        }
    }
    assert_eq!(
        stage.value::<i64>("SELECT (SELECT count(*) FROM longhaul.ready) + (SELECT count(*) FROM longhaul.held)").await,
        0
    );
    let worker = stage.worker(quick_worker()).await;
    let ended = stage.start(&json!({"Type": "Only", "Parameters": {"number": 1}})).await;
    stage.ended(&ended).await;
    let (status, body) = cancel(&stage, &ended).await;
    assert_eq!((status, &body["code"]), (409, &json!("task-ended")));
    worker.stop().await;
}

#[tokio::test]
async fn a_running_task_hears_of_its_cancellation_in_well_under_a_second() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    let mut delays = Vec::new();
    for _ in 0..15 {
        let started = stage.start(&json!({"Type": "Patient", "Parameters": {}})).await;
        waiting(&stage, &started).await;
        let asked_at: chrono::DateTime<chrono::Utc> = stage.value("SELECT clock_timestamp()").await;
        let (status, _) = cancel(&stage, &started).await;
        assert!([200, 202].contains(&status), "{status}");
        assert_eq!(stage.ended(&started).await["State"], "Cancelled");
        let heard_at: chrono::DateTime<chrono::Utc> = stage.value("SELECT max(began_at) FROM span").await;
        delays.push((heard_at - asked_at).num_milliseconds());
    }
    delays.sort_unstable();
    println!("from DELETE to the handler's token, in ms: {delays:?}");
    // By notification, not by the look once a second.
    assert!(delays[delays.len() / 2] < 500, "{delays:?}");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.cancel_request").await, 0);
    worker.stop().await;
}

#[tokio::test]
async fn a_handler_that_ignores_its_cancellation_is_given_up() {
    let stage = stage().await;
    let worker = stage.worker(Settings { grace: Duration::from_millis(50), slots: 1, ..quick_worker() }).await;
    let deaf = stage.start(&json!({"Type": "Patient", "Parameters": {"deaf": true}})).await;
    waiting(&stage, &deaf).await;
    assert_eq!(cancel(&stage, &deaf).await.0, 202);
    assert_eq!(stage.ended(&deaf).await["State"], "Cancelled");
    let next = stage.start(&json!({"Type": "Only", "Parameters": {"number": 1}})).await;
    assert_eq!(stage.ended(&next).await["State"], "Succeeded", "its slot is free again");
    worker.stop().await;
}

#[tokio::test]
async fn a_cancel_is_not_lost_when_the_worker_dies() {
    let stage = stage().await;
    let doomed = stage.worker(mortal_worker()).await;
    let started = stage.start(&json!({"Type": "Patient", "Parameters": {"deaf": true}})).await;
    waiting(&stage, &started).await;
    doomed.kill().await;
    assert_eq!(cancel(&stage, &started).await.0, 202);
    let other = stage.worker(quick_worker()).await;
    assert_eq!(stage.ended(&started).await["State"], "Cancelled", "the rescuer ends it");
    other.stop().await;
}

#[tokio::test]
async fn what_failed_can_be_run_again_and_goes_on_from_its_checkpoint() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    let started = stage.start(&json!({"Type": "Patient", "Parameters": {"fails_first": true}})).await;
    assert_eq!(stage.ended(&started).await["State"], "Failed");
    let retry = format!("{}/retry", started["Self"].as_str().expect("an address"));
    let (status, body) = send(&stage, reqwest::Method::POST, &retry).await;
    assert_eq!(status, 202, "{body}");
    let ended = stage.ended(&started).await;
    assert_eq!((&ended["State"], &ended["Attempt"], &ended["Result"]), (&json!("Succeeded"), &json!(2), &json!(1)));
    let (status, body) = send(&stage, reqwest::Method::POST, &retry).await;
    assert_eq!((status, &body["code"]), (409, &json!("task-ended")));
    worker.stop().await;

    let open = stage.start(&json!({"Type": "Patient", "Parameters": {}})).await;
    let retry = format!("{}/retry", open["Self"].as_str().expect("an address"));
    let (status, body) = send(&stage, reqwest::Method::POST, &retry).await;
    assert_eq!((status, &body["code"]), (409, &json!("task-open")));
    cancel(&stage, &open).await;
    assert_eq!(send(&stage, reqwest::Method::POST, &retry).await.0, 202, "what was cancelled can be run again");
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_given_up_and_tried_again() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    let started = stage.start(&json!({"Type": "Slow", "Parameters": {}})).await;
    let ended = stage.ended(&started).await;
    assert_eq!((&ended["State"], &ended["Attempt"]), (&json!("Failed"), &json!(2)));
    assert_eq!(ended["Error"]["code"], "attempt-timed-out");
    worker.stop().await;
}

#[tokio::test]
async fn a_task_that_kills_its_workers_is_set_aside() {
    let stage = stage().await;
    let started = stage.start(&json!({"Type": "Span", "Parameters": {"millis": 3_600_000}})).await;
    sqlx::raw_sql("UPDATE longhaul.task SET max_attempts = 1000").execute(&stage.pool).await.expect("patience");
    let address = started["Self"].as_str().expect("an address");
    for crash in 1..=POISON {
        let doomed = stage.worker(mortal_worker()).await;
        until("it to run", async || {
            let running: i64 = stage.value("SELECT count(*) FROM span").await;
            (running == i64::from(crash)).then_some(())
        })
        .await;
        doomed.kill().await;
    }
    let other = stage.worker(quick_worker()).await;
    let ended = stage.ended(&started).await;
    assert_eq!((&ended["State"], &ended["Error"]["code"]), (&json!("Failed"), &json!("poison-task")), "{address}");
    other.stop().await;
}

async fn post_with_key(stage: &Stage, key: &str, request: &Value) -> (u16, Value) {
    let response = stage
        .http
        .post(format!("{}/api/backgroundtasks", stage.base_url))
        .header("Idempotency-Key", key)
        .json(request)
        .send()
        .await
        .expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_with_its_idempotency_key_gets_the_same_task() {
    let stage = stage().await;
    let request = json!({"Type": "Span", "Parameters": {"millis": 1}});
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let (http, url, request) =
            (stage.http.clone(), format!("{}/api/backgroundtasks", stage.base_url), request.clone());
        posts.spawn(async move {
            let response =
                http.post(url).header("Idempotency-Key", "a").json(&request).send().await.expect("an answer");
            assert_eq!(response.status(), 202);
            response.json::<Value>().await.expect("JSON")["Id"].to_string()
        });
    }
    let mut ids: Vec<String> = posts.join_all().await;
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 1);

    // Members in another order are the same request.
    let reordered = r#"{"Parameters": {"millis": 1}, "Type": "Span"}"#;
    let (status, body) = post_with_key(&stage, "a", &serde_json::from_str(reordered).expect("JSON")).await;
    assert_eq!((status, body["Id"].to_string()), (202, ids[0].clone()));
    let (status, body) = post_with_key(&stage, "a", &json!({"Type": "Span", "Parameters": {"millis": 2}})).await;
    assert_eq!((status, &body["code"]), (409, &json!("idempotency-key-reused")));
    let (status, body) = post_with_key(&stage, "b", &request).await;
    assert_eq!(status, 202);
    assert_ne!(body["Id"].to_string(), ids[0]);
    for bad in ["", "a b", &"x".repeat(256)] {
        let (status, body) = post_with_key(&stage, bad, &request).await;
        assert_eq!((status, &body["errors"][0]["pointer"]), (400, &json!("Idempotency-Key")), "{bad}");
    }
}

#[tokio::test]
async fn a_unique_task_is_not_started_twice_while_it_is_open() {
    let stage = stage().await;
    let request = json!({"Type": "Only", "Parameters": {"number": 1}});
    let first = stage.start(&request).await;
    assert_eq!(stage.start(&request).await["Id"], first["Id"]);
    let other = stage.start(&json!({"Type": "Only", "Parameters": {"number": 2}})).await;
    assert_ne!(other["Id"], first["Id"]);
    let worker = stage.worker(quick_worker()).await;
    stage.ended(&first).await;
    let next = stage.start(&request).await;
    assert_ne!(next["Id"], first["Id"], "the first one has ended");
    stage.ended(&next).await;
    worker.stop().await;

    let waits = stage.start(&request).await;
    cancel(&stage, &waits).await;
    assert_ne!(stage.start(&request).await["Id"], waits["Id"], "a cancelled one is over, too");
    let retry = format!("{}/retry", waits["Self"].as_str().expect("an address"));
    let (status, body) = send(&stage, reqwest::Method::POST, &retry).await;
    assert_eq!((status, &body["code"]), (409, &json!("unique-task-exists")));
}

#[tokio::test]
async fn a_unique_task_with_a_period_keeps_others_out_until_it_is_over() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    let request = json!({"Type": "Seldom", "Parameters": {}});
    let first = stage.start(&request).await;
    stage.ended(&first).await;
    let again = stage.start(&request).await;
    assert_eq!(again["Id"], first["Id"], "ended, but its period is not over");
    until("the period to be over", async || {
        let next = stage.start(&request).await;
        (next["Id"] != first["Id"]).then_some(())
    })
    .await;
    let apart: f64 =
        stage.value("SELECT extract(epoch FROM max(accepted_at) - min(accepted_at))::float8 FROM longhaul.task").await;
    assert!(apart >= 1.5, "{apart} s");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_three_is_never_four_over_four_workers() {
    let stage = stage().await;
    set_queue(&stage, QueueSettings { max_running: Some(3), ..Default::default() }).await;
    let mut workers = Vec::new();
    for _ in 0..4 {
        workers.push(stage.worker(quick_worker()).await);
    }
    enqueue_spans(&stage, None, 1, 2_000).await;
    all_ended(&stage).await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM span WHERE ended_at IS NOT NULL").await, 2_000);
    assert_eq!(most_at_once(&stage, false).await, 3);
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.admitted").await, 0);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_per_key_holds_for_each_key_and_can_be_changed_while_tasks_run() {
    let stage = stage().await;
    set_queue(&stage, QueueSettings { max_per_key: Some(1), ..Default::default() }).await;
    let workers = [stage.worker(quick_worker()).await, stage.worker(quick_worker()).await];
    for key in ["a", "b", "c"] {
        enqueue_spans(&stage, Some(key), 5, 30).await;
    }
    all_ended(&stage).await;
    assert_eq!(most_at_once(&stage, true).await, 1);
    assert!(most_at_once(&stage, false).await > 1, "different keys run side by side");

    // From no limit to one, in the middle.
    set_queue(&stage, QueueSettings::default()).await;
    enqueue_spans(&stage, None, 100, 60).await;
    until("some to run", async || {
        (stage.value::<i64>("SELECT count(*) FROM span WHERE ended_at IS NULL").await > 4).then_some(())
    })
    .await;
    set_queue(&stage, QueueSettings { max_running: Some(2), ..Default::default() }).await;
    // What workers had claimed before goes on.
    until("what was claimed before to end", async || {
        let counted = "SELECT count(*) FROM longhaul.queue q JOIN longhaul.gate g USING (revision, gating) WHERE g.counted_at IS NOT NULL";
        let settled = stage.value::<i64>(counted).await == 1;
        (settled && stage.value::<i64>("SELECT count(*) FROM longhaul.admitted").await <= 2).then_some(())
    })
    .await;
    let settled: i64 = stage.value("SELECT max(number) FROM span").await;
    all_ended(&stage).await;
    sqlx::query("DELETE FROM span WHERE number <= $1 - 2")
        .bind(settled)
        .execute(&stage.pool)
        .await
        .expect("a deletion");
    assert!(most_at_once(&stage, false).await <= 2);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_rate_is_kept() {
    let stage = stage().await;
    set_queue(&stage, QueueSettings { rate: Some((10, 0.5)), ..Default::default() }).await;
    let worker = stage.worker(quick_worker()).await;
    enqueue_spans(&stage, None, 0, 40).await;
    all_ended(&stage).await;
    // In any window no more than the bucket and what refills meanwhile: 10 and
    // 20 a second.
    let took: f64 = stage.value("SELECT extract(epoch FROM max(began_at) - min(began_at))::float8 FROM span").await;
    assert!(took >= (40.0 - 10.0) / 20.0 * 0.9, "40 tasks began within {took} s");
    worker.stop().await;
}

#[tokio::test]
async fn a_paused_queue_or_type_begins_nothing_and_goes_on_when_resumed() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    enqueue_spans(&stage, None, 0, 5).await;
    all_ended(&stage).await;
    let queue = format!("{}/api/queues/spans", stage.base_url);
    let patch = async |body: Value| {
        let response = stage.http.patch(&queue).json(&body).send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    let (status, body) = patch(json!({"Paused": true})).await;
    assert_eq!((status, &body["Paused"]), (200, &json!(true)));
    enqueue_spans(&stage, None, 0, 5).await;
    let other = stage.start(&json!({"Type": "Only", "Parameters": {"number": 1}})).await;
    stage.ended(&other).await;
    until("all five to be held", async || (stage.get("/api/queues/spans").await.1["Held"] == json!(5)).then_some(()))
        .await;
    assert_eq!(patch(json!({"Paused": false})).await.0, 200);
    all_ended(&stage).await;

    assert_eq!(send(&stage, reqwest::Method::POST, "/api/tasktypes/Span/pause").await.0, 200);
    enqueue_spans(&stage, Some("k"), 0, 5).await;
    let other = stage.start(&json!({"Type": "Only", "Parameters": {"number": 1}})).await;
    stage.ended(&other).await;
    assert_eq!(open(&stage).await, 5);
    pause_type(&stage.pool, "Span", false).await.expect("resumed");
    all_ended(&stage).await;
    worker.stop().await;

    for (body, pointer) in [
        (json!({"Paused": 1}), "/Paused"),
        (json!({"MaxRunning": -1}), "/MaxRunning"),
        (json!({"MaxRunning": 1.5}), "/MaxRunning"),
        (json!({"RateCount": 1}), "/RateCount"),
        (json!({"Colour": 1}), "/Colour"),
    ] {
        let (status, answer) = patch(body).await;
        assert_eq!((status, &answer["errors"][0]["pointer"]), (400, &json!(pointer)));
    }
    assert_eq!(stage.get("/api/queues/nonsense").await.0, 404);
    assert_eq!(send(&stage, reqwest::Method::POST, "/api/tasktypes/Nonsense/pause").await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tenants_flood_does_not_starve_another() {
    let stage = stage().await;
    set_queue(&stage, QueueSettings { fair: true, ..Default::default() }).await;
    enqueue_spans(&stage, Some("a"), 0, 100_000).await;
    let worker = stage.worker(quick_worker()).await;
    until("a's tasks to run", async || (stage.value::<i64>("SELECT count(*) FROM span").await > 50).then_some(()))
        .await;
    enqueue_spans(&stage, Some("b"), 0, 100).await;
    let a_done = until("b's last to end", async || {
        let (a, b): (i64, i64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE key = 'a'), count(*) FILTER (WHERE key = 'b') FROM span WHERE ended_at IS NOT NULL",
        )
        .fetch_one(&stage.pool)
        .await
        .expect("counts");
        (b == 100).then_some(a)
    })
    .await;
    println!("b's last ended when {a_done} of a's 100,000 had");
    assert!(a_done < 5_000, "{a_done}");
    worker.stop().await;
}

#[tokio::test]
async fn a_task_that_has_waited_long_goes_before_urgent_ones() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let usual = TaskTypeInfo { priority: 5, ..span() };
    let urgent = TaskTypeInfo { priority: 0, ..span() };
    let ageing = Some(Duration::from_millis(10));
    let worker = stage.worker(Settings { slots: 1, lanes: 1, ageing, ..quick_worker() }).await;
    // The worker has seen both priorities.
    for info in [usual, urgent] {
        enqueue(&stage.pool, &[NewTask::new(clock.new_id(), info, json!({"key": "first"}))]).await.expect("stored");
    }
    all_ended(&stage).await;
    // Half a second of urgent work, and a task that has patience for 50 ms.
    let mut tasks = vec![NewTask::new(clock.new_id(), usual, json!({"key": "old"}))];
    tasks.extend((0..50).map(|_| NewTask::new(clock.new_id(), urgent, json!({"key": "urgent", "millis": 10}))));
    enqueue(&stage.pool, &tasks).await.expect("stored");
    all_ended(&stage).await;
    let before: i64 = stage
        .value(
            "SELECT count(*) FROM span WHERE key = 'urgent' AND number < (SELECT number FROM span WHERE key = 'old')",
        )
        .await;
    assert!((1..50).contains(&before), "neither first nor last, but after {before}");
    worker.stop().await;
}
