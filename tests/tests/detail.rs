//! `GET /api/backgroundtask/{id}` has what the task's page has.

use std::time::Duration;

use longhaul_model::{
    Outcome, Registry, Report, RetryPolicy, RunContext, RunError, State, TaskType, schemars::JsonSchema,
};
use longhaul_tests::{Stage, quick_worker, until};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Fails as often as it is told, and then reports what is not its own to say.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Pump {
    failures: u16,
    tenant: Option<String>,
}

impl TaskType for Pump {
    const NAME: &'static str = "Pump";
    const ID_PREFIX: &'static str = "pump-";
    const QUEUE: &'static str = "pumps";
    const PRIORITY: u8 = 3;
    const RETRY: RetryPolicy =
        RetryPolicy { max_attempts: 4, first_delay: Duration::from_millis(1), max_delay: Duration::from_millis(1) };

    fn key(&self) -> Option<String> {
        self.tenant.clone()
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        context.save_checkpoint(&json!({"attempt": context.attempt()}))?;
        if context.attempt() <= self.failures {
            return Err(std::io::Error::other("a leak").into());
        }
        let stolen = ["Queue", "Key", "Parameters", "WaitsBecause", "FailedAttempts", "RunAt", "Worker"];
        let report = stolen
            .iter()
            .fold(Report::new().with_member("Litres", 7), |report, name| report.with_member(*name, "stolen"));
        Ok(Outcome::with_report(report))
    }
}

async fn stage() -> Stage {
    Stage::with_registry(Registry::new().with::<Pump>()).await
}

async fn page(stage: &Stage, body: &Value) -> String {
    let address = format!("{}/tasks/{}", stage.base_url, body["Id"].as_str().expect("an id"));
    longhaul_tests::get(address).await.expect("a page").text().await.expect("text")
}

#[tokio::test]
async fn the_answer_has_what_the_page_has() {
    let stage = stage().await;
    let started = stage.start(&json!({"Type": "Pump", "Parameters": {"failures": 2, "tenant": "acme"}})).await;
    let (_, waiting) = stage.get(started["Self"].as_str().expect("an address")).await;
    for (name, value) in started.as_object().expect("an object") {
        assert_eq!(waiting[name], *value, "what POST answers is there: {name}");
    }
    let text = stage.http.get(started["Self"].as_str().expect("an address")).send().await.expect("an answer");
    let text = text.text().await.expect("text");
    assert!(text.starts_with(r#"{"Complete":false,"TotalElements":"#), "the contract's members come first: {text}");
    assert_eq!(waiting["FailedAttempts"], json!([]));
    assert_eq!(waiting["WaitsBecause"][0]["Code"], "no-worker");
    // As if a key had asked for it.
    sqlx::query("UPDATE longhaul.task SET created_by = 'key:ada'").execute(&stage.pool).await.expect("an update");
    let _worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(&started).await;
    assert_eq!(ended["State"], State::Succeeded.name(), "{ended}");
    for (name, value) in [
        ("Parameters", json!({"failures": 2, "tenant": "acme"})),
        ("Queue", json!("pumps")),
        ("Priority", json!(3)),
        ("Key", json!("acme")),
        ("CreatedBy", json!("key:ada")),
        ("Attempt", json!(3)),
        ("MaxAttempts", json!(4)),
        ("Checkpoint", json!({"attempt": 3})),
        ("Litres", json!(7)),
    ] {
        assert_eq!(ended[name], value, "{ended}");
    }
    assert_eq!(ended.get("WaitsBecause"), None);
    assert_eq!(ended.get("RunAt"), None);
    let worker: String = stage.value("SELECT name FROM longhaul.worker").await;
    assert_eq!(ended["Worker"], json!(worker));
    assert!(ended["BeganAt"].is_string(), "{ended}");
    let failures = ended["FailedAttempts"].as_array().expect("attempts");
    assert_eq!(failures.iter().map(|failure| &failure["Attempt"]).collect::<Vec<_>>(), [&json!(2), &json!(1)]);
    for failure in failures {
        assert_eq!((&failure["Worker"], &failure["Error"]["code"]), (&json!(worker), &json!("attempt-failed")));
        assert!(failure["FailedAt"].is_string() && failure["DurationMs"].is_i64(), "{failure}");
        assert_eq!(failure["Error"].get("cause"), None, "that is for operators");
    }
    let page = page(&stage, &ended).await;
    for shown in [
        "pumps",
        "acme",
        "key:ada",
        "3 of 4",
        &worker,
        "Attempt 2",
        "attempt-failed",
        "&quot;tenant&quot;: &quot;acme&quot;",
    ] {
        assert!(page.contains(shown), "{shown}");
    }
    // In a list, too, no member comes twice.
    until("the list to have it", async || {
        let text = stage.http.get(format!("{}/api/tasks", stage.base_url)).send().await.expect("an answer");
        let text = text.text().await.expect("text");
        assert!(!text.contains("stolen"), "{text}");
        text.contains("Litres").then_some(())
    })
    .await;
}
