//! Extreme values in the other tables of the queue: the poison suite beside tasks' own rows
//! (poison.rs).

use std::time::Duration;

use longhaul_model::serde_json::{Value, json};
use longhaul_model::store::audit;
use longhaul_model::store::detail::detail;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::{Outcome, Registry, RunContext, RunError, TaskType};
use longhaul_tests::{Stage, mortal_worker, quick_worker, until};
use longhaul_worker::Settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
struct Echo {
    #[serde(default)]
    number: i64,
    #[serde(default)]
    hangs: bool,
}

impl TaskType for Echo {
    const NAME: &'static str = "Echo";
    const ID_PREFIX: &'static str = "echo-";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        if self.hangs && context.attempt() == 1 {
            context.cancellation().cancelled().await;
        }
        Outcome::with_result(json!(self.number))
    }
}

async fn stage() -> Stage {
    Stage::with_registry(Registry::new().with::<Echo>()).await
}

async fn count(stage: &Stage, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&stage.pool).await.expect("a count")
}

async fn stored(stage: &Stage, number: usize, parameters: &Value) -> Vec<Uuid> {
    let clock = stage.clock().await;
    let registry = Registry::new().with::<Echo>();
    let info = *registry.get("Echo").expect("a type").info();
    let tasks: Vec<NewTask> = (0..number).map(|_| NewTask::new(clock.new_id(), info, parameters.clone())).collect();
    enqueue(&stage.pool, &tasks).await.expect("stored");
    tasks.iter().map(|task| task.id).collect()
}

async fn status(stage: &Stage, path: &str) -> u16 {
    let answer = longhaul_tests::get(format!("{}{path}", stage.base_url)).await.expect("an answer");
    answer.status().as_u16()
}

const DEEP: &str = "('{\"a\":' || repeat('[', 130) || repeat(']', 130) || '}')::jsonb";

#[tokio::test]
async fn schedules_with_extreme_values_cost_no_others_firing_and_no_page() {
    let stage = stage().await;
    // No digest of it is shorter, so no index entry holds it.
    let long = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 125) n)";
    stage
        .execute(format!(
            "INSERT INTO longhaul.schedule (name, cron, time_zone, type, missed, next_at, parameters)
             SELECT 'sound' || n, '0 0 1 1 *', 'UTC', 'Echo', 'Once', now(), '{{}}' FROM generate_series(1, 30) n;
             INSERT INTO longhaul.schedule (name, cron, time_zone, type, missed, next_at, parameters, queue, key, unique_key, fired)
             VALUES ('deep', '0 0 1 1 *', 'UTC', 'Echo', 'Once', now(), {DEEP}, NULL, NULL, NULL, 0),
                    ('cron', repeat('* ', 100000), 'UTC', 'Echo', 'Once', now(), '{{}}', NULL, NULL, NULL, 0),
                    ('zone', '0 0 1 1 *', repeat('Z', 100000), 'Echo', 'Once', now(), '{{}}', NULL, NULL, NULL, 0),
                    ('queue', '0 0 1 1 *', 'UTC', 'Echo', 'Once', now(), '{{}}', {long}, NULL, NULL, 0),
                    ('key', '0 0 1 1 *', 'UTC', 'Echo', 'Once', now(), '{{}}', NULL, {long}, NULL, 0),
                    ('unique', '0 0 1 1 *', 'UTC', 'Echo', 'Once', now(), '{{}}', NULL, NULL, {long}, 0),
                    ('fired', '0 0 1 1 *', 'UTC', 'Echo', 'Once', now(), '{{}}', NULL, NULL, NULL, 9223372036854775807)"
        ))
        .await;
    let worker = stage.worker(quick_worker()).await;
    until("the sound ones, and those that can, to fire", async || {
        (count(&stage, "SELECT count(DISTINCT schedule) FROM longhaul.firing").await == 33).then_some(())
    })
    .await;
    until("the others to be broken or set aside", async || {
        let aside = "SELECT count(*) FROM longhaul.set_aside WHERE service = 'scheduler' AND id IN ('queue', 'unique')";
        let broken = "SELECT count(*) FROM longhaul.schedules WHERE state = 'broken' AND name IN ('cron', 'zone')";
        (count(&stage, aside).await == 2 && count(&stage, broken).await == 2).then_some(())
    })
    .await;
    until("what was fired to end", async || {
        (count(&stage, "SELECT count(*) FROM longhaul.task WHERE finished_at IS NULL").await == 0).then_some(())
    })
    .await;
    assert_eq!(
        count(&stage, "SELECT count(*) FROM longhaul.task WHERE state = 'Failed' AND created_by = 'schedule:deep'")
            .await,
        1
    );
    assert_eq!(count(&stage, "SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'").await, 32);
    for path in ["/api/schedules", "/api/schedules/deep", "/schedules", "/"] {
        assert_eq!(status(&stage, path).await, 200, "{path}");
    }
    worker.stop().await;
}

/// Numbers at the end of their range, which the next end or the next rescue would exceed.
#[tokio::test]
async fn counters_at_their_end_stop_neither_follower_nor_rescuer() {
    let stage = stage().await;
    // Its counts contradict its children.
    stage.strands_tasks();
    let batch =
        async || -> String { stage.value("SELECT longhaul.enqueue_batch('Echo', ARRAY['{}', '{}']::jsonb[])").await };
    let (bad, odd, good) = (batch().await, batch().await, batch().await);
    let id = |public: &str| public.trim_start_matches("batch_").to_owned();
    stage.execute(format!(
            "UPDATE longhaul.family SET succeeded = 2147483647, children = 2147483647, waiting = true WHERE parent_id = '{}';
             UPDATE longhaul.family SET elements = 9223372036854775807 WHERE parent_id = '{}'",
            id(&bad),
            id(&odd)
        ),
    )
    .await;
    let hanging = stored(&stage, 6, &json!({"hangs": true})).await;
    let dying = stage.worker(Settings { slots: 16, ..mortal_worker() }).await;
    for batch in [odd, good] {
        let body = json!({"Self": format!("{}/api/backgroundtask/{batch}", stage.base_url)});
        assert_eq!(stage.ended(&body).await["State"], "Succeeded");
    }
    until("all to run", async || {
        (count(&stage, "SELECT count(*) FROM longhaul.task WHERE state = 'Running' AND type = 'Echo'").await == 6)
            .then_some(())
    })
    .await;
    dying.kill().await;
    stage.execute(format!("UPDATE longhaul.task SET crashes = 32767 WHERE id = '{}'", hanging[1])).await;
    let worker = stage.worker(quick_worker()).await;
    until("the neighbours to end", async || {
        let open = format!(
            "SELECT count(*) FROM longhaul.task WHERE type = 'Echo' AND finished_at IS NULL AND id <> '{}'",
            hanging[1]
        );
        (count(&stage, &open).await == 0).then_some(())
    })
    .await;
    until("it to be Failed or set aside", async || {
        let settled = format!(
            "SELECT count(*) FROM longhaul.tasks WHERE id = '{}' AND (state = 'Failed' OR problem IS NOT NULL)",
            hanging[1]
        );
        (count(&stage, &settled).await == 1).then_some(())
    })
    .await;
    worker.stop().await;
}

#[tokio::test]
async fn what_pages_list_may_hold_anything() {
    let stage = stage().await;
    let id = stored(&stage, 1, &json!({})).await[0];
    let worker = stage.worker(quick_worker()).await;
    until("it to end", async || {
        (count(&stage, "SELECT count(*) FROM longhaul.task WHERE finished_at IS NOT NULL").await == 1).then_some(())
    })
    .await;
    stage
        .execute(format!(
            "INSERT INTO longhaul.attempt_error (task_id, attempt, worker_id, duration_ms, error) VALUES
                 ('{id}', 32767, 2147483647, 9223372036854775807, {DEEP}), ('{id}', -32768, NULL, -1, '\"odd\"');
             INSERT INTO longhaul.task_log (task_id, number, logged_at, attempt, level, line)
             VALUES ('{id}', 9223372036854775807, now(), 32767, 1, repeat('ä', 100000)), ('{id}', -1, now(), -1, 3, '');
             UPDATE longhaul.task SET logged = 2;
             INSERT INTO longhaul.audit (who, deed, target, details) VALUES (repeat('w', 2000), 'd', NULL, {DEEP});
             UPDATE longhaul.worker SET name = repeat('n', 100000), version = repeat('v', 100000)"
        ))
        .await;
    assert!(detail(&stage.pool, id).await.expect("what can be shown").is_some());
    let deeds = audit::entries(&stage.pool, &audit::AuditFilter::default(), 10).await.expect("what can be shown");
    let details = deeds[0].details.as_ref().and_then(Value::as_str).expect("a text");
    assert!(details.contains("bytes that can't be shown: recursion limit exceeded"), "{details}");
    let task = format!("/tasks/echo-{id}");
    let log = format!("/api/backgroundtask/echo-{id}/log");
    for path in [task.as_str(), log.as_str(), "/workers", "/api/workers", "/api/overview", "/metrics", "/"] {
        assert_eq!(status(&stage, path).await, 200, "{path}");
    }
    worker.stop().await;
}

/// A path or a name that no index entry holds.
#[tokio::test]
async fn a_deed_with_a_long_target_is_written_down() {
    let stage = stage().await;
    let long: String = (0..200).map(|_| Uuid::now_v7().to_string()).collect();
    let deed = audit::AuditEntry {
        who: long.clone(),
        address: None,
        deed: "d".to_owned(),
        target: Some(long.clone()),
        details: None,
    };
    audit::record(&stage.pool, &[deed]).await.expect("written down");
    let deeds = audit::entries(&stage.pool, &audit::AuditFilter::default(), 1).await.expect("a deed");
    let target = deeds[0].target.as_deref().expect("a target");
    assert!(target.len() <= 1_000 && long.starts_with(target.trim_end_matches('…')), "{target}");
}

/// A memo of a service, which it reads at every run.
#[tokio::test]
async fn a_memo_that_cant_be_read_is_none() {
    let stage = stage().await;
    stage
        .execute(format!(
            "INSERT INTO longhaul.leader (name, worker_id, until, memo) VALUES ('retention', 1, now(), {DEEP})"
        ))
        .await;
    let worker = stage.worker(Settings { retention_every: Duration::from_millis(100), ..quick_worker() }).await;
    until("retention to leave another", async || {
        (count(&stage, "SELECT count(*) FROM longhaul.leader WHERE name = 'retention' AND memo ? 'front'").await == 1)
            .then_some(())
    })
    .await;
    worker.stop().await;
}

/// An end that has no time, or lies before all others.
#[tokio::test]
async fn an_end_outside_of_time_costs_no_page_and_stops_no_retention() {
    let stage = stage().await;
    let ids = stored(&stage, 30, &json!({})).await;
    let worker = stage.worker(quick_worker()).await;
    until("all to end", async || {
        (count(&stage, "SELECT count(*) FROM longhaul.task WHERE finished_at IS NULL").await == 0).then_some(())
    })
    .await;
    worker.stop().await;
    stage
        .execute(format!(
            "UPDATE longhaul.task SET finished_at = now() - interval '1 h';
             UPDATE longhaul.task SET finished_at = 'infinity' WHERE id = '{}';
             UPDATE longhaul.task SET finished_at = '-infinity' WHERE id = '{}'",
            ids[3], ids[4]
        ))
        .await;
    let task = |id: Uuid| format!("/tasks/echo-{id}");
    for path in [task(ids[3]).as_str(), task(ids[4]).as_str(), "/tasks", "/", "/api/tasks", "/api/overview", "/metrics"]
    {
        assert_eq!(status(&stage, path).await, 200, "{path}");
    }
    let retention = longhaul_model::store::retention::Retention {
        succeeded: Duration::from_secs(1),
        ..longhaul_model::store::retention::Retention::default()
    };
    let worker =
        stage.worker(Settings { retention, retention_every: Duration::from_millis(100), ..quick_worker() }).await;
    until("all but one to be removed", async || {
        (count(&stage, "SELECT count(*) FROM longhaul.task").await == 1).then_some(())
    })
    .await;
    assert_eq!(count(&stage, "SELECT count(*) FROM longhaul.set_aside").await, 0);
    worker.stop().await;
}
