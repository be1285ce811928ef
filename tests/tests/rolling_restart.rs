//! Workers that are replaced one after the other cost long tasks neither an attempt nor a step.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use longhaul_model::{Outcome, Registry, RunContext, RunError, TaskType};
use longhaul_tests::{Stage, quick_worker, until};
use longhaul_worker::Settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

const TASKS: usize = 6;

static RUNS: AtomicUsize = AtomicUsize::new(0);
static MAY_END: AtomicBool = AtomicBool::new(false);

/// Makes steps, each with a checkpoint, until the test lets it end.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Steps {}

impl TaskType for Steps {
    const NAME: &'static str = "Steps";
    const ID_PREFIX: &'static str = "steps-";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        RUNS.fetch_add(1, Ordering::Relaxed);
        let mut step: i64 = context.checkpoint()?.unwrap_or(0);
        while !MAY_END.load(Ordering::Relaxed) {
            if context.cancellation().is_cancelled() {
                return Ok(Outcome::Cancelled);
            }
            let mut transaction = context.pool().begin().await?;
            sqlx::query("INSERT INTO effect (task, step) VALUES ($1, $2)")
                .bind(context.task_id())
                .bind(step)
                .execute(&mut *transaction)
                .await?;
            step += 1;
            context.save_checkpoint_in(&mut transaction, &step).await?;
            transaction.commit().await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Outcome::with_result(step)
    }
}

async fn steps(stage: &Stage) -> HashMap<Uuid, i64> {
    let counted = sqlx::query_as("SELECT task, count(*) FROM effect GROUP BY task").fetch_all(&stage.pool);
    counted.await.expect("the effects").into_iter().collect()
}

/// Waits until every task has made some steps more.
async fn all_go_on(stage: &Stage) {
    let before = steps(stage).await;
    until("every task to go on", async || {
        let now = steps(stage).await;
        let grown = now.iter().filter(|(task, steps)| **steps >= before.get(task).unwrap_or(&0) + 3).count();
        (grown == TASKS).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rolling_restart_spends_no_attempt_and_repeats_no_step() {
    let stage = Stage::with_registry(Registry::new().with::<Steps>()).await;
    sqlx::raw_sql("CREATE TABLE effect (task uuid, step bigint); GRANT ALL ON effect TO PUBLIC")
        .execute(&stage.pool)
        .await
        .expect("a table");
    let worker = async || stage.worker(Settings { slots: 4, drain: Duration::from_millis(50), ..quick_worker() }).await;
    let mut tasks: Vec<Value> = Vec::new();
    for _ in 0..TASKS {
        tasks.push(stage.start(&json!({"Type": "Steps", "Parameters": {}})).await);
    }
    let (first, second) = (worker().await, worker().await);
    all_go_on(&stage).await;
    first.stop().await;
    let third = worker().await;
    all_go_on(&stage).await;
    second.stop().await;
    let fourth = worker().await;
    all_go_on(&stage).await;
    assert!(RUNS.load(Ordering::Relaxed) > TASKS, "tasks changed their worker");

    MAY_END.store(true, Ordering::Relaxed);
    for task in &tasks {
        let ended = stage.ended(task).await;
        assert_eq!((&ended["State"], &ended["Attempt"]), (&json!("Succeeded"), &json!(1)), "{ended}");
    }
    let uneven: i64 = stage
        .value(
            "SELECT count(*) FROM (SELECT e.task FROM effect e JOIN longhaul.task t ON t.id = e.task
              GROUP BY e.task, t.result
             HAVING (count(*), count(DISTINCT e.step), max(e.step) + 1)
                    IS DISTINCT FROM ((t.result #>> '{}')::bigint, count(*), count(*))) AS wrong",
        )
        .await;
    assert_eq!(uneven, 0, "each step was made once");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.attempt_error").await, 0);
    third.stop().await;
    fourth.stop().await;
}
