//! What `longhaul.contradictions` finds: each planted for real in a queue that is in order.

use longhaul_model::serde_json::json;
use longhaul_model::store::findings::{Examination, Level};
use longhaul_model::store::repair::contradictions;
use longhaul_model::{Outcome, Registry, RunContext, RunError, TaskType, TaskTypeInfo};
use longhaul_tests::{Stage, quick_worker, until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Nothing {}

impl TaskType for Nothing {
    const NAME: &'static str = "Nothing";
    const ID_PREFIX: &'static str = "nothing-";

    async fn run(self, _: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

/// Tasks that are over, one of them failed, and then a blocked task, a batch and a delayed task.
async fn stage() -> Stage {
    let stage = Stage::with_registry(Registry::new().with::<Nothing>()).await;
    let worker = stage.worker(quick_worker()).await;
    stage.enqueue(TaskTypeInfo::of::<Nothing>(), vec![json!({}); 3]).await;
    until("all to end", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE finished_at IS NULL").await == 0).then_some(())
    })
    .await;
    worker.stop().await;
    stage
        .execute(
            "SELECT longhaul.cancel(right(longhaul.enqueue('Nothing'), 36)::uuid);
         SELECT longhaul.enqueue_after(ARRAY[longhaul.enqueue('Nothing', run_at => now() + interval '1 hour')], 'Nothing');
         SELECT longhaul.enqueue_batch('Nothing', ARRAY['{}', '{}', '{}']::jsonb[]);
         UPDATE longhaul.child SET number = number",
        )
        .await;
    stage
}

async fn found(stage: &Stage) -> Vec<String> {
    contradictions(&stage.pool, 10).await.expect("a look").into_iter().map(|found| found.problem).collect()
}

/// What is planted, what undoes it, and what is told.
const PLANTED: &[(&str, &str, &str)] = &[
    (
        "INSERT INTO longhaul.successes (tasks) VALUES (-1)",
        "INSERT INTO longhaul.successes (tasks) VALUES (1)",
        "3 tasks succeeded, and 2 are counted",
    ),
    (
        "INSERT INTO longhaul.lease (worker_id, number, task_ids)
         SELECT 1, 7, array_agg(id) FROM longhaul.task WHERE state = 'Succeeded'",
        "DELETE FROM longhaul.lease",
        "lease 7 of worker 1 holds it, and all tasks of the lease are over or gone",
    ),
    (
        "INSERT INTO longhaul.lease (worker_id, number, task_ids) VALUES (1, 8, ARRAY[gen_random_uuid()])",
        "DELETE FROM longhaul.lease",
        "lease 8 of worker 1 holds it, and all tasks of the lease are over or gone",
    ),
    (
        "INSERT INTO longhaul.cancel_request (task_id) SELECT id FROM longhaul.task WHERE state = 'Succeeded' LIMIT 1",
        "DELETE FROM longhaul.cancel_request",
        "the table cancel_request has it, and the task is over or gone",
    ),
    (
        "INSERT INTO longhaul.task_key (key, task_id) SELECT 'u:Nothing:a', id FROM longhaul.task WHERE state = 'Succeeded' LIMIT 1",
        "DELETE FROM longhaul.task_key",
        "the table task_key has it, and the task is over or gone",
    ),
    (
        "INSERT INTO longhaul.ended (id) SELECT id FROM longhaul.task WHERE state = 'Succeeded' LIMIT 1;
         UPDATE longhaul.task SET finished_at = now() - interval '2 minutes' WHERE id IN (SELECT id FROM longhaul.ended)",
        "DELETE FROM longhaul.ended",
        "the table ended has it, and the task has been over for a minute",
    ),
    (
        "UPDATE longhaul.blocked SET open = 2",
        "UPDATE longhaul.blocked SET open = 1",
        "the table blocked has it as waiting for 2 tasks, and it waits for 1",
    ),
    (
        "UPDATE longhaul.dependency SET outcome = 'Met'",
        "UPDATE longhaul.dependency SET outcome = NULL",
        "the table blocked has it as waiting for 1 tasks, and it waits for 0",
    ),
    (
        "CREATE TABLE was AS SELECT on_id FROM longhaul.dependency;
         UPDATE longhaul.dependency SET on_id = (SELECT id FROM longhaul.task WHERE state = 'Succeeded' LIMIT 1)",
        "UPDATE longhaul.dependency SET on_id = (SELECT on_id FROM was)",
        "it waits for ",
    ),
    (
        "UPDATE longhaul.family SET children = 4",
        "UPDATE longhaul.family SET children = 3",
        "its family counts 4 children, 0 of them over; there are 3, 0 of them over",
    ),
    (
        "UPDATE longhaul.family SET succeeded = 2147483647, failed = 1",
        "UPDATE longhaul.family SET succeeded = 0, failed = 0",
        "its family counts 3 children, 2147483648 of them over; there are 3, 0 of them over",
    ),
    (
        "UPDATE longhaul.task SET state = 'Cancelled', finished_at = now() WHERE parent_id IS NOT NULL AND state = 'Queued'
            AND id = (SELECT id FROM longhaul.child WHERE number = 1);
         DELETE FROM longhaul.ready WHERE id = (SELECT id FROM longhaul.child WHERE number = 1);
         SELECT longhaul.note_unsuccessful(ARRAY[id]) FROM longhaul.child WHERE number = 1",
        "UPDATE longhaul.task SET state = 'Queued', finished_at = NULL WHERE id = (SELECT id FROM longhaul.child WHERE number = 1);
         INSERT INTO longhaul.ready (queue, priority, id) SELECT queue, priority, id FROM longhaul.task
          WHERE id = (SELECT id FROM longhaul.child WHERE number = 1);
         DELETE FROM longhaul.unsuccessful WHERE task_id = (SELECT id FROM longhaul.child WHERE number = 1)",
        "its family counts 3 children, 0 of them over; there are 3, 1 of them over",
    ),
    (
        "CREATE TABLE were AS TABLE longhaul.unsuccessful; DELETE FROM longhaul.unsuccessful",
        "INSERT INTO longhaul.unsuccessful TABLE were",
        "it is Cancelled, and the table unsuccessful does not have it",
    ),
    (
        "DELETE FROM longhaul.scheduled",
        "INSERT INTO longhaul.scheduled (run_at, id) SELECT run_at, id FROM longhaul.task WHERE state = 'Scheduled'",
        "it is open (Scheduled) and in no place",
    ),
];

#[tokio::test]
async fn each_contradiction_is_found_and_told_by_doctor() {
    let stage = stage().await;
    assert_eq!(found(&stage).await, [""; 0], "a queue in order");
    for (plant, undo, says) in PLANTED {
        stage.execute(*plant).await;
        let told = found(&stage).await;
        assert!(told.len() == 1 && told[0].starts_with(says), "{plant}: {told:#?}");
        let mut examination = Examination::new("longhaul", Vec::new());
        examination.all_places = true;
        let report = examination.run(&stage.pool).await.expect("an examination");
        let finding = report.findings.iter().find(|finding| finding.check == "places").expect("places");
        assert!(finding.level == Level::Problem && finding.says.contains(&told[0]), "{plant}: {finding:?}");
        stage.execute(*undo).await;
        assert_eq!(found(&stage).await, [""; 0], "{undo}");
    }
}

/// A parent that waits although it is over.
#[tokio::test]
async fn a_family_that_waits_for_a_parent_that_is_over_is_found() {
    let stage = stage().await;
    stage.strands_tasks();
    stage
        .execute(
            "UPDATE longhaul.task SET state = 'Succeeded', finished_at = now()
             WHERE id IN (SELECT parent_id FROM longhaul.family);
         INSERT INTO longhaul.successes (tasks) VALUES (1)",
        )
        .await;
    assert_eq!(found(&stage).await, ["the table family (waiting) has it, and the task is over or gone"]);
}

/// `doctor` looks with whatever login it is given, and by `--url` with the API's.
#[tokio::test]
async fn api_and_workers_may_look_for_contradictions() {
    let stage = stage().await;
    for url in [&stage.logins().api, &stage.logins().worker] {
        let pool = sqlx::PgPool::connect(url).await.expect("a login");
        assert_eq!(contradictions(&pool, 10).await.expect("a look").len(), 0);
    }
    assert_eq!(contradictions(&stage.pool, 10).await.expect("a look").len(), 0);
}
