//! `longhaul-test`: what tests of one's own task types rely on.

use std::time::Duration;

use longhaul::store::{QueueSettings, set_queue};
use longhaul::{LogLevel, Outcome, Program, Registry, RetryPolicy, RunContext, RunError, State, TaskType};
use longhaul_model::problem::ATTEMPT_FAILED;
use longhaul_test::TestQueue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Sends one letter. It fails as often as it was told to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Letter {
    to: String,
    failures: u16,
}

impl TaskType for Letter {
    const NAME: &'static str = "Letter";
    const ID_PREFIX: &'static str = "letter_";
    const QUEUE: &'static str = "mail";
    const RETRY: RetryPolicy =
        RetryPolicy { max_attempts: 3, first_delay: Duration::from_secs(600), max_delay: Duration::from_secs(3600) };

    fn unique_key(&self) -> Option<String> {
        self.to.starts_with("once").then(|| self.to.clone())
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        if context.attempt() <= self.failures {
            return Err(RunError::transient(ATTEMPT_FAILED, "The post office is closed."));
        }
        Outcome::with_result(format!("{} has it", self.to))
    }
}

/// Starts a letter to each of these, and waits for them.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Circular {
    to: Vec<String>,
}

impl TaskType for Circular {
    const NAME: &'static str = "Circular";
    const ID_PREFIX: &'static str = "circular_";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        if context.checkpoint::<bool>()?.is_none() {
            let letters = self.to.iter().map(|to| Letter { to: to.clone(), failures: 0 });
            context.fan_out(letters, &true).await?;
            return Ok(Outcome::AwaitChildren);
        }
        Outcome::with_result(self.to.len())
    }
}

/// Counts up to a number, in a table of the test.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Count {
    to: i64,
}

impl TaskType for Count {
    const NAME: &'static str = "Count";
    const ID_PREFIX: &'static str = "count_";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let mut at: i64 = context.checkpoint()?.unwrap_or(0);
        context.progress().set_total(self.to);
        context.log().info(format_args!("from {at}, attempt {}", context.attempt()));
        while at < self.to {
            if context.cancellation().is_cancelled() {
                return Ok(Outcome::Cancelled);
            }
            at += 1;
            let mut transaction = context.pool().begin().await?;
            sqlx::query("INSERT INTO counted VALUES ($1)").bind(at).execute(&mut *transaction).await?;
            context.save_checkpoint_in(&mut transaction, &at).await?;
            transaction.commit().await?;
            context.progress().set_processed(at);
        }
        Ok(Outcome::done())
    }
}

async fn queue() -> TestQueue {
    TestQueue::start(Program::new(Registry::new().with::<Letter>().with::<Circular>().with::<Count>())).await
}

fn letter(to: &str, failures: u16) -> Letter {
    Letter { to: to.to_owned(), failures }
}

#[tokio::test]
async fn tasks_run_when_the_test_says_so_with_all_that_they_lead_to() {
    let queue = queue().await;
    let circular = Circular { to: vec!["Ada".to_owned(), "Grace".to_owned()] };
    let stored = queue.client().enqueue(&circular).await.expect("stored");
    assert_eq!(queue.task(stored.uuid).await.state, State::Queued, "nothing runs by itself");
    queue.assert_enqueued::<Circular>(|circular| circular.to.len() == 2).await;
    queue.assert_none_enqueued::<Letter>().await;

    queue.run_all().await;
    let task = queue.task(stored.uuid).await;
    assert_eq!((task.state, task.result), (State::Succeeded, Some(2.into())));
    assert_eq!(task.family.expect("children").succeeded, 2);
    queue.assert_none_enqueued::<Letter>().await;
}

#[tokio::test]
async fn a_retry_waits_until_the_test_moves_the_clock() {
    let queue = queue().await;
    let stored = queue.client().enqueue(&letter("Ada", 1)).await.expect("stored");
    queue.run_all().await;
    assert_eq!(queue.task(stored.uuid).await.state, State::Retrying);
    queue.advance(Duration::from_secs(60)).await;
    queue.run_all().await;
    assert_eq!(queue.task(stored.uuid).await.state, State::Retrying, "its delay is ten minutes or so");
    queue.advance(Duration::from_secs(3600)).await;
    queue.run_all().await;
    let task = queue.task(stored.uuid).await;
    assert_eq!((task.state, task.attempt, task.result), (State::Succeeded, 2, Some("Ada has it".into())));
}

#[tokio::test]
async fn the_clock_moves_for_delayed_tasks_schedules_and_unique_keys() {
    let queue = queue().await;
    let client = queue.client();
    sqlx::query("SELECT longhaul.enqueue('Letter', '{\"to\": \"Grace\", \"failures\": 0}', run_at => now() + interval '2 days')")
        .execute(queue.pool())
        .await
        .expect("stored");
    queue.run_all().await;
    queue.assert_enqueued::<Letter>(|letter| letter.to == "Grace").await;
    queue.advance(Duration::from_secs(3 * 86_400)).await;
    queue.run_all().await;
    queue.assert_none_enqueued::<Letter>().await;

    let first = client.enqueue(&letter("once", 0)).await.expect("stored");
    let again = client.enqueue(&letter("once", 0)).await.expect("found");
    assert_eq!((again.is_new, again.uuid), (false, first.uuid));
    queue.run_all().await;
    assert!(client.enqueue(&letter("once", 0)).await.expect("stored").is_new);
}

#[tokio::test]
async fn what_can_not_run_does_not_keep_the_test_waiting() {
    let queue = queue().await;
    let paused = QueueSettings { paused: true, ..QueueSettings::default() };
    set_queue(queue.pool(), "mail", &paused).await.expect("paused");
    let stored = queue.client().enqueue(&letter("Ada", 0)).await.expect("stored");
    queue.run_all().await;
    assert_eq!(queue.task(stored.uuid).await.state, State::Queued);
    set_queue(queue.pool(), "mail", &QueueSettings::default()).await.expect("resumed");
    queue.run_all().await;
    assert_eq!(queue.task(stored.uuid).await.state, State::Succeeded);
}

#[tokio::test]
async fn a_handler_runs_alone_with_checkpoints_progress_log_and_cancellation() {
    let queue = queue().await;
    sqlx::query("CREATE TABLE counted (number bigint PRIMARY KEY)").execute(queue.pool()).await.expect("a table");

    let run = queue.perform(&Count { to: 3 }).run().await;
    assert_eq!(run.outcome.expect("a success"), Outcome::done());
    assert_eq!((run.progress.total, run.progress.processed), (3, 3));
    assert_eq!(run.log, [(LogLevel::Info, "from 0, attempt 1".to_owned())]);

    let run = queue.perform(&Count { to: 5 }).from_checkpoint(&3).run().await;
    assert_eq!(run.log, [(LogLevel::Info, "from 3, attempt 2".to_owned())]);
    assert_eq!(run.outcome.expect("a success"), Outcome::done());
    let counted: i64 = sqlx::query_scalar("SELECT count(*) FROM counted").fetch_one(queue.pool()).await.expect("rows");
    assert_eq!(counted, 5, "what a handler does to other tables stays");

    let run = queue.perform(&Count { to: 9 }).from_checkpoint(&5).cancelled().run().await;
    assert_eq!(run.outcome.expect("it stops"), Outcome::Cancelled);

    let error = queue.perform(&letter("Ada", 2)).as_attempt(2).run().await.outcome.expect_err("it fails");
    assert_eq!(error.problem().detail, "The post office is closed.");
    assert!(queue.perform(&letter("Ada", 2)).as_attempt(3).run().await.outcome.is_ok());

    let run = queue.perform(&Circular { to: vec!["Ada".to_owned()] }).run().await;
    assert_eq!(run.outcome.expect("it waits"), Outcome::AwaitChildren);
    queue.assert_enqueued::<Letter>(|letter| letter.to == "Ada").await;
    queue.assert_none_enqueued::<Count>().await;
    queue.assert_none_enqueued::<Circular>().await;
    queue.run_all().await;
    queue.assert_none_enqueued::<Letter>().await;
}

#[tokio::test]
async fn an_assertion_that_fails_lists_what_there_is() {
    let queue = queue().await;
    queue.client().enqueue(&letter("Ada", 7)).await.expect("stored");
    let failed =
        tokio::spawn(async move { queue.assert_enqueued::<Letter>(|letter| letter.to == "Grace").await }).await;
    let panic = failed.expect_err("none fits").into_panic();
    let message = panic.downcast_ref::<String>().expect("a text");
    assert!(
        message.contains("no task of Letter fits") && message.contains(r#"{"to":"Ada","failures":7}"#),
        "{message}"
    );
}
