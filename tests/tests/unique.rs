//! Unique keys by every way in but the two POSTs: SQL, Rust, and schedules.

use std::time::Duration;

use longhaul::store::{NewTask, Stored, enqueue_unique};
use longhaul_model::store::cron::{self, NewSchedule, fire};
use longhaul_model::{Missed, Outcome, Registry, RunContext, RunError, TaskOptions, TaskType};
use longhaul_tests::{Stage, quick_worker, until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

/// One of a kind at a time.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Single {
    kind: String,
}

impl TaskType for Single {
    const NAME: &'static str = "Single";
    const ID_PREFIX: &'static str = "single-";

    fn key(&self) -> Option<String> {
        Some(format!("tenant of {}", self.kind))
    }

    fn unique_key(&self) -> Option<String> {
        Some(self.kind.clone())
    }

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

/// One in an hour, whether it has ended or not.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Hourly {}

impl TaskType for Hourly {
    const NAME: &'static str = "Hourly";
    const ID_PREFIX: &'static str = "hourly-";
    const UNIQUE_FOR: Option<Duration> = Some(Duration::from_secs(3600));

    fn unique_key(&self) -> Option<String> {
        Some("all".to_owned())
    }

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

async fn stage() -> Stage {
    Stage::with_registry(Registry::new().with::<Single>().with::<Hourly>()).await
}

async fn select(stage: &Stage, call: &str) -> String {
    sqlx::query_scalar(AssertSqlSafe(format!("SELECT {call}"))).fetch_one(&stage.pool).await.expect("stored")
}

async fn ended(stage: &Stage, count: i64) {
    until("the tasks to end", async || {
        let ended: i64 = stage.value("SELECT count(*) FROM longhaul.tasks WHERE state = 'Succeeded'").await;
        (ended == count).then_some(())
    })
    .await;
}

const STORED: &str = "SELECT count(*) FROM longhaul.task";

#[tokio::test]
async fn sql_gets_the_task_that_is_there_until_it_ends() {
    let stage = stage().await;
    let call = r#"longhaul.enqueue('Single', '{"kind": "a"}', unique_key => 'a')"#;
    let first = select(&stage, call).await;
    assert_eq!(select(&stage, call).await, first);
    assert_ne!(select(&stage, r#"longhaul.enqueue('Single', '{"kind": "b"}', unique_key => 'b')"#).await, first);
    // A key is one whichever way a task came in.
    let posted = stage.start(&json!({"Type": "Single", "Parameters": {"kind": "a"}})).await;
    assert_eq!(posted["Id"], first);
    assert_eq!(stage.value::<i64>(STORED).await, 2);
    let worker = stage.worker(quick_worker()).await;
    ended(&stage, 2).await;
    assert_ne!(select(&stage, call).await, first, "it is over: the key is free");
    worker.stop().await;
}

#[tokio::test]
async fn sql_may_say_how_long_a_key_is_taken_and_else_the_type_does() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    let seldom = "longhaul.enqueue('Single', '{\"kind\": \"x\"}', unique_key => 'x', unique_for => '1 hour')";
    let hourly = "longhaul.enqueue('Hourly', unique_key => 'all')";
    let first = (select(&stage, seldom).await, select(&stage, hourly).await);
    ended(&stage, 2).await;
    assert_eq!((select(&stage, seldom).await, select(&stage, hourly).await), first, "taken though it is over");
    sqlx::raw_sql("UPDATE longhaul.task_key SET expires_at = now()").execute(&stage.pool).await.expect("time flies");
    assert_ne!(select(&stage, seldom).await, first.0);
    worker.stop().await;
}

#[tokio::test]
async fn two_transactions_of_sql_with_one_key_wait_for_each_other() {
    let stage = stage().await;
    let call = r#"SELECT longhaul.enqueue('Single', '{"kind": "a"}', unique_key => 'a')"#;
    for commits in [true, false] {
        let mut first = stage.pool.begin().await.expect("a transaction");
        let stored: String = sqlx::query_scalar(call).fetch_one(&mut *first).await.expect("stored");
        let second = tokio::spawn({
            let pool = stage.pool.clone();
            async move { sqlx::query_scalar::<_, String>(call).fetch_one(&pool).await.expect("an answer") }
        });
        until("the second to wait", async || {
            let waits =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            (stage.value::<i64>(waits).await == 1).then_some(())
        })
        .await;
        if commits {
            first.commit().await.expect("a commit");
            assert_eq!(second.await.expect("it ends"), stored);
            let id = Uuid::try_parse(stored.trim_start_matches("single-")).expect("an id");
            longhaul::store::cancel(&stage.pool, id).await.expect("cancelled");
        } else {
            first.rollback().await.expect("a rollback");
            assert_ne!(second.await.expect("it ends"), stored, "that one never was");
        }
    }
}

#[tokio::test]
async fn wrong_unique_arguments_are_errors_that_say_what_to_change() {
    let stage = stage().await;
    for (arguments, message) in [
        ("unique_key => ''", "1 to 500 bytes"),
        ("unique_key => repeat('x', 501)", "1 to 500 bytes"),
        ("unique_for => '1 hour'", "unique_for needs a unique_key"),
        ("unique_key => 'x', unique_for => '0'", "not above 0"),
        ("unique_key => 'x', unique_for => '-1 s'", "not above 0"),
        ("unique_key => 'x', unique_for => '11 years'", "at most 3652 days"),
    ] {
        let sql = format!("SELECT longhaul.enqueue('Hourly', {arguments})");
        let error = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&stage.pool).await.expect_err("refused");
        let told = error.to_string();
        assert!(told.contains(message), "{arguments}: {told}");
    }
    assert_eq!(stage.value::<i64>(STORED).await, 0);
}

#[tokio::test]
async fn rust_gets_the_task_that_is_there_inside_its_transaction() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let task = |kind: &str| NewTask::of(clock.new_id(), &Single { kind: kind.to_owned() }).expect("JSON");
    let first = task("a");
    let long = "ä".repeat(400);
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    assert!(matches!(enqueue_unique(&mut transaction, &first).await.expect("stored"), Stored::New(_)));
    assert_eq!(enqueue_unique(&mut transaction, &task("a")).await.expect("found"), Stored::Existing(first.id));
    assert!(matches!(enqueue_unique(&mut transaction, &task(&long)).await.expect("stored"), Stored::New(_)));
    assert!(matches!(enqueue_unique(&mut transaction, &task(&long)).await.expect("found"), Stored::Existing(_)));
    transaction.commit().await.expect("a commit");
    let posted = stage.start(&json!({"Type": "Single", "Parameters": {"kind": long}})).await;
    assert_eq!(stage.value::<i64>(STORED).await, 2, "{posted}");
    assert_eq!(stage.value::<String>("SELECT key FROM longhaul.task ORDER BY id LIMIT 1").await, "tenant of a");
}

async fn put(stage: &Stage, name: &str, body: &Value) {
    let url = format!("{}/api/schedules/{name}", stage.base_url);
    let response = stage.http.put(url).json(body).send().await.expect("an answer");
    assert_eq!(response.status(), 201, "{:?}", response.text().await);
}

async fn due_since(stage: &Stage, name: &str, minutes: i32) {
    sqlx::query(
        "UPDATE longhaul.schedule SET next_at = date_trunc('minute', now()) - $2 * interval '1 min' WHERE name = $1",
    )
    .bind(name)
    .bind(minutes)
    .execute(&stage.pool)
    .await
    .expect("due");
}

#[tokio::test]
async fn a_schedule_starts_no_second_of_what_may_be_there_once() {
    let stage = stage().await;
    let cron = json!({"Cron": "* * * * *", "Type": "Single", "Parameters": {"kind": "a"}, "Missed": "All"});
    put(&stage, "often", &cron).await;
    due_since(&stage, "often", 4).await;
    let posted = stage.start(&json!({"Type": "Single", "Parameters": {"kind": "a"}})).await;
    fire(&stage.pool, 1).await.expect("a look");
    assert_eq!(stage.value::<i64>(STORED).await, 1, "the one that was there");
    let schedule = cron::schedule(&stage.pool, "often").await.expect("an answer").expect("a schedule");
    assert_eq!((schedule.fired, schedule.last_task.as_deref()), (0, posted["Id"].as_str()));
    assert!(stage.value::<i64>("SELECT count(*) FROM longhaul.firing").await >= 4, "each due time is on record");

    let worker = stage.worker(quick_worker()).await;
    ended(&stage, 1).await;
    worker.stop().await;
    due_since(&stage, "often", -1).await;
    sqlx::raw_sql("UPDATE longhaul.firing SET due_at = due_at - interval '1 day'; UPDATE longhaul.schedule SET next_at = date_trunc('minute', now()) - interval '2 min'")
        .execute(&stage.pool)
        .await
        .expect("another day");
    fire(&stage.pool, 1).await.expect("a look");
    let schedule = cron::schedule(&stage.pool, "often").await.expect("an answer").expect("a schedule");
    assert_eq!(schedule.fired, 1, "three due times, one task");
    assert_eq!(stage.value::<i64>(STORED).await, 2);
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE key = 'tenant of a'").await, 2);
}

#[tokio::test]
async fn a_schedule_keeps_the_period_of_its_type() {
    let stage = stage().await;
    put(&stage, "often", &json!({"Cron": "* * * * *", "Type": "Hourly", "Missed": "Once"})).await;
    let worker = stage.worker(quick_worker()).await;
    for _ in 0..3 {
        sqlx::raw_sql("DELETE FROM longhaul.firing").execute(&stage.pool).await.expect("forgotten");
        due_since(&stage, "often", 1).await;
        until("it to fire", async || {
            (stage.value::<i64>("SELECT count(*) FROM longhaul.firing").await > 0).then_some(())
        })
        .await;
        ended(&stage, 1).await;
    }
    assert_eq!(stage.value::<i64>(STORED).await, 1);
    worker.stop().await;
}

#[tokio::test]
async fn a_schedule_without_a_unique_key_makes_a_task_each_time() {
    let stage = stage().await;
    let schedule = NewSchedule {
        name: "often".to_owned(),
        cron: "* * * * *".to_owned(),
        time_zone: "UTC".to_owned(),
        type_name: "Single".to_owned(),
        parameters: json!({"kind": "a"}),
        options: TaskOptions::default(),
        key: None,
        unique_key: None,
        missed: Missed::All,
        paused: false,
        next_at: None,
    };
    assert!(cron::create(&stage.pool, &schedule).await.expect("stored"));
    due_since(&stage, "often", 4).await;
    fire(&stage.pool, 1).await.expect("a look");
    assert!(stage.value::<i64>(STORED).await >= 4);
}
