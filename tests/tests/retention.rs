//! Ended tasks are flushed after a while.

use std::time::Duration;

use longhaul_model::store::leader::{lead, remember, resign};
use longhaul_model::store::retention::{Retention, Walk, prune};
use longhaul_tests::{Stage, quick_worker, until};
use serde_json::json;
use sqlx::AssertSqlSafe;

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn run(stage: &Stage, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&stage.pool).await.expect("it is done");
}

/// Tasks of one state that were accepted and ended so many days ago.
async fn old_tasks(stage: &Stage, state: &str, days: f64, count: i32) {
    let ended = ["Succeeded", "Failed", "Cancelled"].contains(&state);
    if !ended {
        // No worker of these tests is to run them.
        stage.strands_tasks();
    }
    run(
        stage,
        format!(
            "INSERT INTO longhaul.task (id, type, queue, max_attempts, priority, accepted_at, state, attempt, finished_at, fraction, error)
             SELECT (lpad(to_hex((extract(epoch FROM t.at) * 1000)::bigint), 12, '0') || substr(replace(gen_random_uuid()::text, '-', ''), 13))::uuid,
                    'Reindex', 'default', 5, 5, t.at, '{state}', 1, CASE WHEN {ended} THEN t.at END,
                    CASE WHEN '{state}' = 'Succeeded' THEN 1 ELSE 0 END, CASE WHEN '{state}' = 'Failed' THEN '{{}}'::jsonb END
               FROM (SELECT now() - {days} * interval '1 day' + n * interval '1 ms' AS at FROM generate_series(1, {count}) n) t;
             SELECT longhaul.note_unsuccessful(ARRAY(SELECT id FROM longhaul.task));
             INSERT INTO longhaul.successes (tasks) SELECT {count} WHERE '{state}' = 'Succeeded'"
        ),
    )
    .await;
}

async fn counts(stage: &Stage) -> Vec<(String, i64)> {
    sqlx::query_as("SELECT state::text, count(*) FROM longhaul.task GROUP BY task.state ORDER BY task.state")
        .fetch_all(&stage.pool)
        .await
        .expect("counts")
}

async fn now_ms(stage: &Stage) -> i64 {
    stage.value("SELECT (extract(epoch FROM now()) * 1000)::bigint").await
}

/// Walks until there is nothing more to look at; returns how many were seen and
/// removed.
async fn walk_on(stage: &Stage, walk: &mut Walk, retention: &Retention, limit: i64) -> (i64, i64) {
    let now = now_ms(stage).await;
    let (mut seen, mut removed) = (0, 0);
    loop {
        let step = walk.step(&stage.pool, retention, now, limit).await.expect("a step");
        assert!(step.seen <= limit);
        seen += step.seen;
        removed += step.removed;
        if !step.more {
            return (seen, removed);
        }
    }
}

#[tokio::test]
async fn each_end_is_kept_as_long_as_its_state_says() {
    let stage = Stage::new().await;
    for (state, days) in [
        ("Succeeded", 7.1),
        ("Succeeded", 6.9),
        ("Cancelled", 7.1),
        ("Cancelled", 6.9),
        ("Failed", 30.1),
        ("Failed", 29.9),
        ("Queued", 400.0),
    ] {
        old_tasks(&stage, state, days, 10).await;
    }
    let mut walk = Walk::default();
    let (_, removed) = walk_on(&stage, &mut walk, &Retention::default(), 7).await;
    assert_eq!(removed, 30);
    let left = ["Queued", "Succeeded", "Failed", "Cancelled"].map(|state| (state.to_owned(), 10));
    assert_eq!(counts(&stage).await, left);
}

#[tokio::test]
async fn what_stays_at_the_left_edge_is_not_looked_at_each_time() {
    let stage = Stage::new().await;
    old_tasks(&stage, "Queued", 100.0, 5_000).await;
    old_tasks(&stage, "Succeeded", 8.0, 100).await;
    let mut walk = Walk::default();
    let retention = Retention::default();
    assert_eq!(walk_on(&stage, &mut walk, &retention, 1_000).await, (5_100, 100));
    // The walk goes on where it was, also in another process.
    let mut walk: Walk = serde_json::from_value(serde_json::to_value(walk).expect("JSON")).expect("a walk");
    assert_eq!(walk_on(&stage, &mut walk, &retention, 1_000).await, (0, 0), "nothing is looked at twice");
    // A minute later new ones have come of age: they alone are looked at.
    old_tasks(&stage, "Succeeded", 7.0 - 30.0 / 86_400.0, 50).await;
    let later = now_ms(&stage).await + 60_000;
    let step = walk.step(&stage.pool, &retention, later, 1_000).await.expect("a step");
    assert_eq!(step.seen, 50);
    // An hour later the left edge is looked at once more.
    let later = later + 3_600_000;
    let step = walk.step(&stage.pool, &retention, later, 1_000).await.expect("a step");
    assert_eq!((step.seen, step.more), (1_000, true));
}

#[tokio::test]
async fn what_ended_long_after_it_was_accepted_is_found_by_the_sweep() {
    let stage = Stage::new().await;
    old_tasks(&stage, "Queued", 100.0, 1).await;
    let mut walk = Walk::default();
    let retention = Retention::default();
    walk_on(&stage, &mut walk, &retention, 1_000).await;
    run(
        &stage,
        "UPDATE longhaul.task SET state = 'Succeeded', fraction = 1, attempt = 1, finished_at = now() - interval '8 days';
         INSERT INTO longhaul.successes (tasks) VALUES (1)"
            .to_owned(),
    )
    .await;
    let later = now_ms(&stage).await + 3_700_000;
    let step = walk.step(&stage.pool, &retention, later, 1_000).await.expect("a step");
    assert_eq!(step.removed, 1);
}

#[tokio::test]
async fn a_flushed_task_is_unknown_and_its_failed_attempts_are_gone() {
    let stage = Stage::new().await;
    let zero = Retention {
        succeeded: Duration::ZERO,
        cancelled: Duration::ZERO,
        failed: Duration::ZERO,
        ..Retention::default()
    };
    let settings = || longhaul_worker::Settings { retention_every: Duration::from_millis(50), ..quick_worker() };
    let kept = stage.worker(settings()).await;
    let started = stage.start(&json!({"Type": "Reindex"})).await;
    stage.ended(&started).await;
    run(
        &stage,
        "INSERT INTO longhaul.attempt_error (task_id, attempt, error) SELECT id, 1, '{\"type\": \"urn:longhaul:problem:handler-failed\", \"title\": \"t\", \"status\": 500, \"code\": \"handler-failed\", \"detail\": \"d\"}' FROM longhaul.task".to_owned(),
    )
    .await;
    kept.stop().await;
    let flushes = stage.worker(longhaul_worker::Settings { retention: zero, ..settings() }).await;
    let address = started["Self"].as_str().expect("an address");
    let problem = until("the task to be flushed", async || {
        let (status, body) = stage.get(address).await;
        (status == 404).then_some(body)
    })
    .await;
    assert_eq!(problem["code"], "unknown-task");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.attempt_error").await, 0);
    flushes.stop().await;
}

#[tokio::test]
async fn one_worker_leads_until_its_term_is_over_or_it_resigns() {
    let stage = Stage::new().await;
    let pool = &stage.pool;
    let term = Duration::from_millis(300);
    assert_eq!(lead(pool, "it", 1, term).await.expect("an answer").expect("the lead").memo, None);
    remember(pool, "it", 1, &json!({"at": 7})).await.expect("stored");
    assert!(lead(pool, "it", 2, term).await.expect("an answer").is_none());
    assert!(lead(pool, "it", 1, term).await.expect("an answer").is_some(), "it stays the leader");
    let next = until("the term to be over", async || lead(pool, "it", 2, term).await.expect("an answer")).await;
    assert_eq!(next.memo, Some(json!({"at": 7})), "the next goes on from what the last left");
    remember(pool, "it", 1, &json!("late")).await.expect("an answer");
    resign(pool, 2).await.expect("an answer");
    let third = lead(pool, "it", 3, term).await.expect("an answer").expect("the lead");
    assert_eq!(third.memo, Some(json!({"at": 7})), "who does not lead leaves nothing");
}

#[tokio::test]
async fn rows_that_nothing_needs_any_more_are_pruned() {
    let stage = Stage::new().await;
    run(
        &stage,
        "INSERT INTO longhaul.worker (name, version, queues, slots, heartbeat_ms, heartbeat_at, stopped_at, lost_at) VALUES
             ('alive', '1', '{}', 1, 1000, now() - interval '90 days', NULL, NULL),
             ('stopped lately', '1', '{}', 1, 1000, now(), now() - interval '29 days', NULL),
             ('stopped', '1', '{}', 1, 1000, now(), now() - interval '32 days', NULL),
             ('lost', '1', '{}', 1, 1000, now(), NULL, now() - interval '32 days'),
             ('holds a lease', '1', '{}', 1, 1000, now(), NULL, now() - interval '32 days');
         INSERT INTO longhaul.lease (worker_id, number, task_ids)
         SELECT id, 1, '{}' FROM longhaul.worker WHERE name = 'holds a lease';
         INSERT INTO longhaul.schedule (name, cron, time_zone, type, missed, last_fired_at)
         VALUES ('yearly', '@yearly', 'UTC', 'Reindex', 'Once', now() - interval '40 days');
         INSERT INTO longhaul.firing (schedule, due_at, task_id)
         SELECT 'yearly', now() - n * interval '40 days', gen_random_uuid() FROM generate_series(1, 3) n"
            .to_owned(),
    )
    .await;
    let pruned = prune(&stage.pool, &Retention::default()).await.expect("a pruning");
    assert_eq!((pruned.workers, pruned.firings), (2, 2));
    let left: Vec<String> = sqlx::query_scalar("SELECT name FROM longhaul.worker ORDER BY name")
        .fetch_all(&stage.pool)
        .await
        .expect("names");
    assert_eq!(left, ["alive", "holds a lease", "stopped lately"]);
    let longer = Retention { failed: 60 * DAY, ..Retention::default() };
    assert_eq!(prune(&stage.pool, &longer).await.expect("a pruning").workers, 0);
}
