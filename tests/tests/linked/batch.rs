//! Parents and children.

use longhaul_model::store::cancel::{cancel, retry};
use longhaul_model::store::enqueue::NewTask;
use longhaul_model::store::linked::{
    Dependency, IfChildFailed, IfFailed, begin_batch, enqueue_linked, family, note_missed_ends,
};
use longhaul_model::{Batch, TaskTypeInfo};
use longhaul_tests::{Stage, mortal_worker, quick_worker, until};
use serde_json::{Value, json};
use uuid::Uuid;

use super::scene::{Piece, all_ended, info, nothing_is_left, pieces, stage};

async fn batch(stage: &Stage, children: &[NewTask], if_failed: IfChildFailed) -> NewTask {
    let clock = stage.clock().await;
    let parent = NewTask::new(clock.new_id(), TaskTypeInfo::of::<Batch>(), json!({}));
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    begin_batch(&mut transaction, &parent, if_failed).await.expect("the parent is stored");
    enqueue_linked(&mut transaction, children, &[], Some(parent.id)).await.expect("the children are stored");
    transaction.commit().await.expect("a commit");
    parent
}

async fn field(stage: &Stage, task: Uuid, name: &'static str) -> Value {
    sqlx::query_scalar("SELECT to_jsonb(v) -> $2 FROM longhaul.tasks v WHERE id = $1")
        .bind(task)
        .bind(name)
        .fetch_one(&stage.pool)
        .await
        .expect("a row")
}

#[tokio::test]
async fn a_parents_progress_is_the_sum_of_its_childrens() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    let mut children = pieces(&stage, (0..3).map(|number| Piece { number, fails: false, takes_ms: 0 }).collect()).await;
    let clock = stage.clock().await;
    children.push(NewTask::new(clock.new_id(), info("Endless"), json!({})));
    let parent = batch(&stage, &children, IfChildFailed::Ignore).await;
    // Three pieces of ten elements, and one that tells none.
    until("three of four to be shown", async || {
        (field(&stage, parent.id, "processed_elements").await == 30).then_some(())
    })
    .await;
    assert_eq!(field(&stage, parent.id, "total_elements").await, 31);
    assert_eq!(field(&stage, parent.id, "progress").await, 0.75);
    assert_eq!(field(&stage, parent.id, "message").await, "3 of 4 tasks done");
    assert_eq!(field(&stage, parent.id, "state").await, "Running");
    cancel(&stage.pool, children[3].id).await.expect("an answer");
    assert_eq!(all_ended(&stage, std::slice::from_ref(&parent)).await, ["Succeeded"]);
    assert_eq!(
        field(&stage, parent.id, "result").await,
        json!({"Children": 4, "Succeeded": 3, "Failed": 0, "Cancelled": 1})
    );
    nothing_is_left(&stage).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_failed_child_fails_the_batch_and_a_retry_of_the_batch_runs_only_what_failed() {
    let stage = stage().await;
    let _worker = stage.worker(quick_worker()).await;
    let children =
        pieces(&stage, (0..5).map(|number| Piece { number, fails: number == 2, takes_ms: 0 }).collect()).await;
    let parent = batch(&stage, &children, IfChildFailed::Continue).await;
    assert_eq!(all_ended(&stage, std::slice::from_ref(&parent)).await, ["Failed"]);
    let error = field(&stage, parent.id, "error").await;
    assert_eq!(
        (&error["code"], &error["detail"]),
        (&json!("children-failed"), &json!("Of 5 tasks 1 failed and 0 were cancelled."))
    );
    sqlx::query("INSERT INTO mended VALUES (true)").execute(&stage.pool).await.expect("a row");
    retry(&stage.pool, parent.id).await.expect("an answer");
    until("the batch to succeed", async || {
        (all_ended(&stage, std::slice::from_ref(&parent)).await == ["Succeeded"]).then_some(())
    })
    .await;
    let family = family(&stage.pool, parent.id).await.expect("an answer").expect("a family");
    assert_eq!((family.children, family.succeeded, family.failed), (5, 5, 0));
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM began").await, 6, "only the failed one ran again");
    nothing_is_left(&stage).await;
}

#[tokio::test]
async fn a_batch_that_is_cancelled_takes_all_its_children_along() {
    let stage = stage().await;
    let _worker = stage.worker(quick_worker()).await;
    let clock = stage.clock().await;
    let children: Vec<NewTask> = (0..2_500).map(|_| NewTask::new(clock.new_id(), info("Endless"), json!({}))).collect();
    let parent = batch(&stage, &children, IfChildFailed::Continue).await;
    until("eight to run", async || {
        let running: i64 =
            stage.value("SELECT count(*) FROM longhaul.tasks WHERE state = 'Running' AND type = 'Endless'").await;
        (running >= 8).then_some(())
    })
    .await;
    cancel(&stage.pool, parent.id).await.expect("an answer");
    assert_eq!(all_ended(&stage, std::slice::from_ref(&parent)).await, ["Cancelled"]);
    assert!(all_ended(&stage, &children).await.iter().all(|state| state == "Cancelled"));
    nothing_is_left(&stage).await;
}

/// A bar that stood at a fifth must not jump when the batch is cancelled, nor count elements
/// that nobody has processed.
#[tokio::test]
async fn a_batch_that_is_cancelled_counts_only_what_its_children_did() {
    let stage = stage().await;
    let _worker = stage.worker(quick_worker()).await;
    let clock = stage.clock().await;
    let mut children = pieces(&stage, vec![Piece { number: 1, fails: false, takes_ms: 0 }]).await;
    children.push(NewTask::new(clock.new_id(), info("Endless"), json!({})));
    // These never run.
    children.extend((0..3).map(|_| {
        let mut child = NewTask::new(clock.new_id(), info("Endless"), json!({}));
        child.run_at = Some("2999-01-01T00:00:00Z".parse().expect("a time"));
        child
    }));
    let parent = batch(&stage, &children, IfChildFailed::Continue).await;
    let progress = async || {
        let part = async |name| field(&stage, parent.id, name).await;
        (part("progress").await, part("processed_elements").await, part("total_elements").await)
    };
    until("one of five to be shown", async || (progress().await == (json!(0.2), json!(10), json!(14))).then_some(()))
        .await;
    cancel(&stage.pool, parent.id).await.expect("an answer");
    assert_eq!(all_ended(&stage, std::slice::from_ref(&parent)).await, ["Cancelled"]);
    assert_eq!(progress().await, (json!(0.2), json!(10), json!(14)));

    retry(&stage.pool, parent.id).await.expect("an answer");
    let rest: (i64, i64, f64) =
        sqlx::query_as("SELECT elements, unprocessed, undone FROM longhaul.family WHERE parent_id = $1")
            .bind(parent.id)
            .fetch_one(&stage.pool)
            .await
            .expect("a family");
    assert_eq!(rest, (10, 0, 0.0), "what runs again is not over");
    cancel(&stage.pool, parent.id).await.expect("an answer");
    assert_eq!(all_ended(&stage, std::slice::from_ref(&parent)).await, ["Cancelled"]);
}

#[tokio::test]
async fn with_if_failed_cancel_the_first_failure_ends_the_batch() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let mut children = pieces(&stage, vec![Piece { number: 1, fails: true, takes_ms: 0 }]).await;
    children.extend((0..20).map(|_| NewTask::new(clock.new_id(), info("Endless"), json!({}))));
    let parent = batch(&stage, &children, IfChildFailed::Cancel).await;
    // A slot for each: the one that fails must not wait behind those that never end.
    let _worker = stage.worker(longhaul_worker::Settings { slots: 32, ..quick_worker() }).await;
    assert_eq!(all_ended(&stage, std::slice::from_ref(&parent)).await, ["Failed"]);
    let states = all_ended(&stage, &children).await;
    assert_eq!(states.iter().filter(|state| *state == "Cancelled").count(), 20);
    nothing_is_left(&stage).await;
}

#[tokio::test]
async fn a_handler_spreads_its_work_waits_without_a_worker_and_adds_up_twice() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let numbers: Vec<i64> = (1..=40).collect();
    let spread = NewTask::new(clock.new_id(), info("Spread"), json!({"numbers": numbers}));
    longhaul_model::store::enqueue::enqueue(&stage.pool, std::slice::from_ref(&spread)).await.expect("stored");
    // One slot: were it taken while the parent waits, no child could ever run.
    let _worker = stage.worker(longhaul_worker::Settings { slots: 1, ..quick_worker() }).await;
    assert_eq!(all_ended(&stage, std::slice::from_ref(&spread)).await, ["Succeeded"]);
    assert_eq!(field(&stage, spread.id, "result").await, json!({"Sum": 2 * 820, "Succeeded": 80, "Attempt": 1}));
    nothing_is_left(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_workers_neither_lose_nor_double_children() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let spreads: Vec<NewTask> = (0..6)
        .map(|_| NewTask::new(clock.new_id(), info("Spread"), json!({"numbers": (1..=100).collect::<Vec<i64>>()})))
        .collect();
    longhaul_model::store::enqueue::enqueue(&stage.pool, &spreads).await.expect("stored");
    // A third death would make a task that was unlucky each time a poisonous one.
    for _ in 0..2 {
        let victim = stage.worker(mortal_worker()).await;
        let before: i64 = stage.value("SELECT count(*) FROM began").await;
        until("some children to run", async || {
            (stage.value::<i64>("SELECT count(*) FROM began").await > before + 20).then_some(())
        })
        .await;
        victim.kill().await;
    }
    let _worker = stage.worker(mortal_worker()).await;
    assert!(all_ended(&stage, &spreads).await.iter().all(|state| state == "Succeeded"));
    for spread in &spreads {
        let result = field(&stage, spread.id, "result").await;
        assert_eq!((&result["Sum"], &result["Succeeded"]), (&json!(2 * 5_050), &json!(200)), "{result}");
    }
    nothing_is_left(&stage).await;
}

#[tokio::test]
async fn a_hundred_thousand_children_are_stored_by_one_statement() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let children: Vec<NewTask> =
        (0..100_000).map(|number| NewTask::new(clock.new_id(), info("Piece"), json!({"number": number}))).collect();
    let parent = batch(&stage, &children, IfChildFailed::Continue).await;
    let family = family(&stage.pool, parent.id).await.expect("an answer").expect("a family");
    assert_eq!((family.children, family.all_ended()), (100_000, false));
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.ready").await, 100_000);
    // The one that stores children is one statement: it left one transaction's mark.
    assert_eq!(stage.value::<i64>("SELECT count(DISTINCT xmin::text) FROM longhaul.task").await, 1);
}

/// Someone asks to cancel a task at the very moment of its end: the request is left
/// over, and must not stop what is run again.
#[tokio::test]
async fn a_request_to_cancel_that_came_too_late_does_not_stop_a_retry() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    let failing = pieces(&stage, vec![Piece { number: 1, fails: true, takes_ms: 0 }]).await;
    longhaul_model::store::enqueue::enqueue(&stage.pool, &failing).await.expect("stored");
    assert_eq!(all_ended(&stage, &failing).await, ["Failed"]);
    sqlx::query("INSERT INTO longhaul.cancel_request (task_id) SELECT id FROM longhaul.task")
        .execute(&stage.pool)
        .await
        .expect("a row");
    sqlx::query("INSERT INTO mended VALUES (true)").execute(&stage.pool).await.expect("a row");
    worker.stop().await;
    retry(&stage.pool, failing[0].id).await.expect("an answer");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.cancel_request").await, 0);
    let _worker = stage.worker(quick_worker()).await;
    assert_eq!(all_ended(&stage, &failing).await, ["Succeeded"]);
}

/// What a worker of the first release does: it ends a task, and notes nothing.
#[tokio::test]
async fn ends_that_an_older_worker_did_not_note_are_noted_later() {
    let stage = stage().await;
    let all = pieces(&stage, (0..4).map(|number| Piece { number, fails: false, takes_ms: 0 }).collect()).await;
    let parent = batch(&stage, &all[..3], IfChildFailed::Continue).await;
    let waits = Dependency { task: all[3].id, on: all[0].id, if_failed: IfFailed::Cancel };
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    enqueue_linked(&mut transaction, &all[3..], &[waits], None).await.expect("stored");
    transaction.commit().await.expect("a commit");
    sqlx::query(
        "WITH claimed AS (DELETE FROM longhaul.ready), uncounted AS (DELETE FROM longhaul.successes)
         UPDATE longhaul.task SET state = 'Succeeded', attempt = 1, fraction = 1, finished_at = now() WHERE parent_id = $1",
    )
    .bind(parent.id)
    .execute(&stage.pool)
    .await
    .expect("ended");
    let _worker = stage.worker(quick_worker()).await;
    // The worker's own hourly look may have been first.
    note_missed_ends(&stage.pool).await.expect("an answer");
    let ends = [parent, all[3].clone()];
    assert_eq!(all_ended(&stage, &ends).await, ["Succeeded", "Succeeded"]);
    let family = family(&stage.pool, ends[0].id).await.expect("an answer").expect("a family");
    assert_eq!((family.children, family.succeeded), (3, 3));
    assert_eq!(note_missed_ends(&stage.pool).await.expect("an answer"), 0);
    nothing_is_left(&stage).await;
}

#[tokio::test]
async fn a_child_is_counted_once_although_something_waits_for_it_later() {
    let stage = stage().await;
    let _worker = stage.worker(quick_worker()).await;
    let mut all = pieces(&stage, (0..2).map(|number| Piece { number, fails: false, takes_ms: 0 }).collect()).await;
    let late = all.pop().expect("two pieces");
    let clock = stage.clock().await;
    all.push(NewTask::new(clock.new_id(), info("Endless"), json!({})));
    let parent = batch(&stage, &all, IfChildFailed::Ignore).await;
    let counted = async || family(&stage.pool, parent.id).await.expect("an answer").expect("a family").succeeded;
    until("the first to be counted", async || (counted().await == 1).then_some(())).await;
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    let waits = Dependency { task: late.id, on: all[0].id, if_failed: IfFailed::Cancel };
    enqueue_linked(&mut transaction, std::slice::from_ref(&late), &[waits], None).await.expect("stored");
    transaction.commit().await.expect("a commit");
    assert_eq!(all_ended(&stage, &[late]).await, ["Succeeded"]);
    assert_eq!(counted().await, 1);
    cancel(&stage.pool, all[1].id).await.expect("an answer");
    assert_eq!(all_ended(&stage, std::slice::from_ref(&parent)).await, ["Succeeded"]);
    let family = family(&stage.pool, parent.id).await.expect("an answer").expect("a family");
    assert_eq!((family.succeeded, family.cancelled), (1, 1));
    nothing_is_left(&stage).await;
}
