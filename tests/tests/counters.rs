//! Counters at the end of their range: one more is not counted, and costs nobody anything.

use std::time::Duration;

use longhaul_model::store::claim::{Floors, claim};
use longhaul_model::store::finish::{AttemptEnd, AttemptOutcome, LeaseChanges};
use longhaul_model::store::rescue::rescue;
use longhaul_model::store::worker::{WorkerInfo, register};
use longhaul_model::store::{ClaimedTask, LeaseKey};
use longhaul_model::{Outcome, Progress, Registry, RunContext, RunError, TaskType, TaskTypeInfo};
use longhaul_tests::{Stage, finish, until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Nothing {}

impl TaskType for Nothing {
    const NAME: &'static str = "Nothing";
    const ID_PREFIX: &'static str = "nothing-";

    async fn run(self, _: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

async fn stage() -> Stage {
    Stage::with_registry(Registry::new().with::<Nothing>()).await
}

/// Stores so many tasks, and claims them for a worker that only the test moves.
async fn claimed(stage: &Stage, number: usize) -> (i32, Vec<ClaimedTask>) {
    stage.enqueue(TaskTypeInfo::of::<Nothing>(), vec![json!({}); number]).await;
    let info = WorkerInfo {
        name: "hand".to_owned(),
        version: "0".to_owned(),
        queues: vec!["default".to_owned()],
        slots: 8,
        heartbeat: Duration::from_millis(200),
    };
    let worker_id = register(&stage.pool, &info).await.expect("an id");
    let mut floors = Floors::new(vec!["default".to_owned()], None);
    let lease = LeaseKey { worker_id, number: 1 };
    (worker_id, claim(&stage.pool, &mut floors, lease, number).await.expect("a claim"))
}

#[tokio::test]
async fn an_interruption_too_many_to_count_is_still_an_interruption() {
    let stage = stage().await;
    let (worker_id, tasks) = claimed(&stage, 3).await;
    for (task, times) in tasks.iter().zip([i16::MAX, i16::MIN, 4]) {
        sqlx::query("UPDATE longhaul.task SET interruptions = $2 WHERE id = $1")
            .bind(task.id)
            .bind(times)
            .execute(&stage.pool)
            .await
            .expect("a count");
    }
    let ends: Vec<AttemptEnd> = tasks
        .iter()
        .map(|task| AttemptEnd {
            id: task.id,
            lease_number: task.lease.number,
            attempt: task.attempt,
            elapsed: Duration::from_millis(30),
            progress: Progress::unknown(),
            checkpoint: None,
            verdict: AttemptOutcome::Interrupted(Duration::from_secs(3_600)),
            asked_to_cancel: false,
            special: task.special,
        })
        .collect();
    let leases = LeaseChanges { emptied: vec![1], shortened: vec![] };
    let stored = finish(&stage.pool, worker_id, &ends, &leases).await.expect("the database takes it");
    assert_eq!(stored.len(), 3);
    let rows: Vec<(String, i16)> = sqlx::query_as("SELECT state::text, interruptions FROM longhaul.task ORDER BY id")
        .fetch_all(&stage.pool)
        .await
        .expect("rows");
    let scheduled = |times| ("Scheduled".to_owned(), times);
    assert_eq!(rows, [scheduled(i16::MAX), scheduled(1), scheduled(5)]);
}

#[tokio::test]
async fn a_crash_too_many_to_count_fails_its_task_and_keeps_no_neighbour() {
    let stage = stage().await;
    let (worker_id, tasks) = claimed(&stage, 4).await;
    for (task, times) in tasks.iter().zip([i16::MAX, i16::MIN, 0]) {
        sqlx::query("UPDATE longhaul.task SET crashes = $2, state = 'Running', attempt = 1 WHERE id = $1")
            .bind(task.id)
            .bind(times)
            .execute(&stage.pool)
            .await
            .expect("a count");
    }
    until("the worker to be presumed dead", async || {
        rescue(&stage.pool).await.expect("a rescue").workers.contains(&worker_id).then_some(())
    })
    .await;
    let rows: Vec<(String, i16, Option<String>)> =
        sqlx::query_as("SELECT state::text, crashes, error ->> 'code' FROM longhaul.task ORDER BY id")
            .fetch_all(&stage.pool)
            .await
            .expect("rows");
    let queued = || ("Queued".to_owned(), 1, None);
    assert_eq!(rows, [("Failed".to_owned(), i16::MAX, Some("poison-task".to_owned())), queued(), queued(), queued()]);
}
