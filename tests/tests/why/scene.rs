//! What the tests of why tasks wait play with: jobs that do what they are told, and the three ways
//! to ask.

use std::time::Duration;

use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::queue::{QueueSettings, set};
use longhaul_model::{Outcome, Registry, RetryPolicy, RunContext, RunError, TaskType};
use longhaul_tests::{Stage, until};
use longhaul_worker::Settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum Does {
    /// Ends at once.
    #[default]
    End,
    /// Goes on until it is cancelled.
    Hang,
    /// Goes on even then.
    Ignore,
    Fail,
    Snooze,
    /// Has two children that hang, and waits for them.
    Divide,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Job {
    pub(crate) does: Does,
    pub(crate) key: Option<String>,
}

impl TaskType for Job {
    const NAME: &'static str = "Job";
    const ID_PREFIX: &'static str = "job-";
    const QUEUE: &'static str = "jobs";
    const RETRY: RetryPolicy = RetryPolicy { first_delay: HOUR, max_delay: HOUR, ..RetryPolicy::DEFAULT };

    fn key(&self) -> Option<String> {
        self.key.clone()
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        match self.does {
            Does::End => {}
            Does::Hang => {
                context.cancellation().cancelled().await;
                return Ok(Outcome::Cancelled);
            }
            Does::Ignore => std::future::pending().await,
            Does::Fail => return Err(std::io::Error::other("the pump is broken").into()),
            Does::Snooze => return Ok(Outcome::Snooze(HOUR)),
            Does::Divide => {
                if context.family().await?.children == 0 {
                    let child = || Job { does: Does::Hang, key: None };
                    context.fan_out((0..2).map(|_| child()), &json!({})).await?;
                }
                return Ok(Outcome::AwaitChildren);
            }
        }
        Ok(Outcome::done())
    }
}

/// In a queue of its own.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Other {}

impl TaskType for Other {
    const NAME: &'static str = "Other";
    const ID_PREFIX: &'static str = "other-";
    const QUEUE: &'static str = "others";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) async fn stage() -> Stage {
    Stage::with_registry(Registry::new().with::<Job>().with::<Other>()).await
}

pub(crate) fn of_jobs(settings: Settings) -> Settings {
    Settings { queues: vec!["jobs".to_owned()], ..settings }
}

/// Stores a job; returns its id.
pub(crate) async fn job(stage: &Stage, does: Does, key: Option<&str>) -> Uuid {
    let job = Job { does, key: key.map(str::to_owned) };
    let clock = stage.clock().await;
    let task = NewTask::of(clock.new_id(), &job).expect("JSON");
    enqueue(&stage.pool, std::slice::from_ref(&task)).await.expect("stored");
    task.id
}

/// Stores a job that hangs, and waits until a worker runs it.
pub(crate) async fn hanging(stage: &Stage, key: Option<&str>) -> Uuid {
    let id = job(stage, Does::Hang, key).await;
    in_state(stage, id, "Running").await;
    id
}

pub(crate) async fn in_state(stage: &Stage, id: Uuid, state: &str) {
    until(&format!("{id} to be {state}"), async || {
        let now: String = sqlx::query_scalar("SELECT state::text FROM longhaul.tasks WHERE id = $1")
            .bind(id)
            .fetch_one(&stage.pool)
            .await
            .expect("a state");
        (now == state).then_some(())
    })
    .await;
}

pub(crate) async fn limit(stage: &Stage, settings: QueueSettings) {
    set(&stage.pool, "jobs", &settings).await.expect("set");
}

pub(crate) async fn by_sql(stage: &Stage, id: Uuid) -> Vec<Value> {
    sqlx::query_scalar(
        "SELECT jsonb_build_object('Code', code, 'Says', says, 'Details', details) FROM longhaul.why($1)",
    )
    .bind(id)
    .fetch_all(&stage.pool)
    .await
    .expect("reasons")
}

pub(crate) fn public(id: Uuid) -> String {
    format!("job-{id}")
}

/// Waits until these are the codes of the reasons for which a task waits, by SQL, by the API
/// and on its page; returns the reasons.
pub(crate) async fn waits(stage: &Stage, id: Uuid, codes: &[&str]) -> Vec<Value> {
    let mut seen = String::new();
    let found = tokio::time::timeout(
        Duration::from_secs(50),
        until(&format!("{id} to wait because of {codes:?}"), async || {
            let reasons = by_sql(stage, id).await;
            seen = format!("{reasons:?}");
            if !reasons.iter().map(|reason| reason["Code"].as_str().expect("a code")).eq(codes.iter().copied()) {
                return None;
            }
            let (status, body) = stage.get(&format!("/api/backgroundtask/{}", public(id))).await;
            assert_eq!(status, 200, "{body}");
            let page = page(stage, id).await;
            // Times move on, and the engine may be at it just now: then it is asked again.
            let same = match body.get("WaitsBecause") {
                Some(told) => *told == json!(reasons),
                None => reasons.is_empty(),
            };
            let shown = reasons.iter().all(|reason| page.contains(reason["Says"].as_str().expect("a sentence")));
            (same && shown && page.contains("Why it waits") != reasons.is_empty()).then_some(reasons)
        }),
    )
    .await;
    found.unwrap_or_else(|_| panic!("{id} does not wait because of {codes:?} but of {seen}"))
}

/// Waits until the turn that such a task waits for has these details, and returns the reasons: the
/// gatekeeper needs a moment to see what arrived.
pub(crate) async fn takes_turns(stage: &Stage, id: Uuid, codes: &[&str], turn: Value) -> Vec<Value> {
    until(&format!("{id} to wait for {turn}"), async || {
        let reasons = waits(stage, id, codes).await;
        (*details(&reasons, "turn") == turn).then_some(reasons)
    })
    .await
}

pub(crate) async fn page(stage: &Stage, id: Uuid) -> String {
    let response = longhaul_tests::get(format!("{}/tasks/{}", stage.base_url, public(id))).await.expect("a page");
    assert_eq!(response.status(), 200);
    response.text().await.expect("text")
}

pub(crate) fn says<'a>(reasons: &'a [Value], code: &str) -> &'a str {
    let reason = reasons.iter().find(|reason| reason["Code"] == code).expect(code);
    reason["Says"].as_str().expect("a sentence")
}

pub(crate) fn details<'a>(reasons: &'a [Value], code: &str) -> &'a Value {
    &reasons.iter().find(|reason| reason["Code"] == code).expect(code)["Details"]
}
