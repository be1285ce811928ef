//! What docs/retries.md says, on a task type of its own.

use std::time::Duration;

use longhaul::{Outcome, ProblemKind, Registry, RetryPolicy, RunContext, RunError, TaskType};
use longhaul_tests::{Stage, quick_worker, until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const GONE: ProblemKind = ProblemKind { code: "gone", title: "The page is gone", status: 410 };
const BUSY: ProblemKind = ProblemKind { code: "busy", title: "The server is busy", status: 503 };

/// What a server answered.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
enum Answer {
    Page,
    Nothing,
    Gone,
    Busy { retry_after_ms: u64 },
    NotYet { look_again_ms: u64 },
}

/// Fetches a page; the answers that it will get, one an attempt.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fetch {
    answers: Vec<Answer>,
}

impl Fetch {
    /// A server whose memory is the task's checkpoint.
    fn ask(&self, context: &RunContext) -> Result<Answer, RunError> {
        let asked: usize = context.checkpoint()?.unwrap_or_default();
        context.save_checkpoint(&(asked + 1))?;
        Ok(self.answers[asked].clone())
    }
}

impl TaskType for Fetch {
    const NAME: &'static str = "Fetch";
    const ID_PREFIX: &'static str = "fetch_";
    const RETRY: RetryPolicy =
        RetryPolicy { max_attempts: 4, first_delay: Duration::from_millis(20), max_delay: Duration::from_secs(600) };
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        match self.ask(&context)? {
            Answer::Page => Outcome::with_result("a page"),
            // Any error by `?`: retried by the policy.
            Answer::Nothing => Err(std::io::Error::other("the connection was cut"))?,
            // Another attempt can't help: the task fails now.
            Answer::Gone => Err(RunError::permanent(GONE, "There is no such page any more.")),
            // The other system requested a delay: retry after exactly that time. Counts as an attempt.
            Answer::Busy { retry_after_ms } => {
                let delay = Duration::from_millis(retry_after_ms);
                Err(RunError::retry_after(delay, BUSY, "The server is busy."))
            }
            // Not an error, only too early: does not count as an attempt.
            Answer::NotYet { look_again_ms } => Ok(Outcome::Snooze(Duration::from_millis(look_again_ms))),
        }
    }
}

async fn fetched(answers: Value) -> (Stage, Value) {
    let stage = Stage::with_registry(Registry::new().with::<Fetch>()).await;
    let worker = stage.worker(quick_worker()).await;
    let accepted = stage.start(&json!({"Type": "Fetch", "Parameters": {"answers": answers}})).await;
    let ended = stage.ended(&accepted).await;
    worker.stop().await;
    (stage, ended)
}

async fn errors(stage: &Stage) -> Vec<(i16, String, bool)> {
    sqlx::query_as(
        "SELECT attempt, error ->> 'code', duration_ms IS NOT NULL AND worker_id IS NOT NULL
           FROM longhaul.attempt_error ORDER BY failed_at",
    )
    .fetch_all(&stage.pool)
    .await
    .expect("errors")
}

#[tokio::test]
async fn an_error_is_tried_again_and_every_attempts_error_is_kept() {
    let (stage, ended) = fetched(json!(["Nothing", {"Busy": {"retry_after_ms": 1}}, "Page"])).await;
    assert_eq!(
        (&ended["State"], &ended["Attempt"], &ended["Result"]),
        (&json!("Succeeded"), &json!(3), &json!("a page"))
    );
    assert_eq!(errors(&stage).await, [(1, "attempt-failed".to_owned(), true), (2, "busy".to_owned(), true)]);
}

#[tokio::test]
async fn the_last_attempt_is_the_last() {
    let (stage, ended) = fetched(json!(["Nothing", "Nothing", "Nothing", "Nothing"])).await;
    assert_eq!((&ended["State"], &ended["Attempt"]), (&json!("Failed"), &json!(4)));
    assert_eq!(ended["Error"]["code"], "attempt-failed");
    assert_eq!(errors(&stage).await.len(), 4);
}

#[tokio::test]
async fn what_can_not_go_better_fails_at_once() {
    let (_, ended) = fetched(json!(["Gone"])).await;
    assert_eq!(
        (&ended["State"], &ended["Attempt"], &ended["Error"]["code"]),
        (&json!("Failed"), &json!(1), &json!("gone"))
    );
}

#[tokio::test]
async fn a_snooze_is_no_attempt_and_no_error() {
    let snooze = json!({"NotYet": {"look_again_ms": 1}});
    let (stage, ended) = fetched(json!([snooze, snooze, snooze, snooze, snooze, "Page"])).await;
    assert_eq!((&ended["State"], &ended["Attempt"]), (&json!("Succeeded"), &json!(1)));
    assert!(errors(&stage).await.is_empty());
}

#[tokio::test]
async fn the_other_sides_delay_is_kept() {
    let stage = Stage::with_registry(Registry::new().with::<Fetch>()).await;
    let worker = stage.worker(quick_worker()).await;
    let answers = json!([{"Busy": {"retry_after_ms": 3_600_000}}]);
    stage.start(&json!({"Type": "Fetch", "Parameters": {"answers": answers}})).await;
    let wait: f64 = until("it to wait", async || {
        sqlx::query_scalar(
            "SELECT extract(epoch FROM t.run_at - e.failed_at)::float8
               FROM longhaul.tasks t JOIN longhaul.attempt_error e ON e.task_id = t.id WHERE t.state = 'Retrying'",
        )
        .fetch_optional(&stage.pool)
        .await
        .expect("an answer")
    })
    .await;
    assert!((wait - 3_600.0).abs() < 1.0, "{wait} s");
    worker.stop().await;
}
