//! One row that the database refuses, in each maintenance service: it is set aside with the
//! database's error, the others go on, and it is tried again.

mod repairer;

use std::time::Duration;

use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::serde_json::{Value, json};
use longhaul_model::store::aside;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::{DatabaseClock, Outcome, Registry, RunContext, RunError, TaskType};
use longhaul_tests::{Scrape, Stage, mortal_worker, quick_worker, until};
use longhaul_worker::Settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

/// Ends at once, or hangs until its worker dies.
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
    const QUEUE: &'static str = "echoes";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        if self.hangs && context.attempt() == 1 {
            context.cancellation().cancelled().await;
            return Ok(Outcome::Cancelled);
        }
        Outcome::with_result(json!({"number": self.number}))
    }
}

async fn stage() -> Stage {
    Stage::with_registry(Registry::new().with::<Echo>()).await
}

/// The database refuses to change rows of this table for which this holds.
async fn plant(stage: &Stage, table: &str, event: &str, holds: &str) {
    let sql = format!(
        "CREATE FUNCTION refuse_{event}_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF {holds} THEN RAISE EXCEPTION 'a planted row'; END IF;
             RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
         END $$;
         CREATE TRIGGER refuse_{event} BEFORE {event} ON longhaul.{table}
             FOR EACH ROW EXECUTE FUNCTION refuse_{event}_{table}()"
    );
    stage.execute(&sql).await;
}

async fn mend(stage: &Stage, table: &str, event: &str) {
    stage
        .execute(format!(
            "DROP TRIGGER refuse_{event} ON longhaul.{table}; UPDATE longhaul.set_aside SET next_at = now()"
        ))
        .await;
}

/// What is set aside, once there is something.
async fn aside_in(stage: &Stage, service: &str) -> String {
    until(&format!("{service} to set a row aside"), async || {
        let rows = aside::list(&stage.pool, 10).await.expect("rows");
        assert!(rows.iter().all(|row| row.service == service && row.error.contains("a planted row")), "{rows:?}");
        rows.into_iter().next().map(|row| row.id)
    })
    .await
}

async fn none_aside(stage: &Stage) {
    until("nothing to be set aside", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.set_aside").await == 0).then_some(())
    })
    .await;
}

/// All tasks but these end.
async fn others_end(stage: &Stage, but: &str) {
    let sql = format!("SELECT count(*) FROM longhaul.task WHERE finished_at IS NULL AND id::text <> '{but}'");
    until("the others to end", async || {
        let open: i64 = sqlx::query_scalar(AssertSqlSafe(sql.clone())).fetch_one(&stage.pool).await.expect("a count");
        (open == 0).then_some(())
    })
    .await;
}

async fn all_end(stage: &Stage) {
    others_end(stage, "").await;
}

fn echoes(clock: &DatabaseClock, number: usize, parameters: &Value) -> Vec<NewTask> {
    let registry = Registry::new().with::<Echo>();
    let info = *registry.get("Echo").expect("a registered type").info();
    (0..number).map(|_| NewTask::new(clock.new_id(), info, parameters.clone())).collect()
}

async fn stored(stage: &Stage, number: usize, parameters: &Value) -> Vec<Uuid> {
    let clock = stage.clock().await;
    let tasks = echoes(&clock, number, parameters);
    enqueue(&stage.pool, &tasks).await.expect("stored");
    tasks.iter().map(|task| task.id).collect()
}

#[tokio::test]
async fn the_promoter_passes_over_a_row_that_it_cant_make_ready() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let run_at = longhaul_model::chrono::DateTime::from_timestamp_millis(clock.now_ms() + 100);
    let tasks: Vec<NewTask> =
        echoes(&clock, 300, &json!({})).into_iter().map(|task| NewTask { run_at, ..task }).collect();
    enqueue(&stage.pool, &tasks).await.expect("stored");
    let id = tasks[123].id;
    plant(&stage, "ready", "insert", &format!("NEW.id = '{id}'")).await;
    let worker = stage.worker(quick_worker()).await;
    assert_eq!(aside_in(&stage, "promoter").await, id.to_string());
    others_end(&stage, &id.to_string()).await;
    let (problem, public_id): (String, String) = sqlx::query_as(
        "SELECT t.problem, s.public_id FROM longhaul.tasks t JOIN longhaul.set_aside_tasks s USING (public_id)",
    )
    .fetch_one(&stage.pool)
    .await
    .expect("a problem");
    assert!(problem.starts_with("promoter: ") && problem.contains("a planted row"), "{problem}");
    assert_eq!(public_id, format!("echo-{id}"));
    let page = longhaul_tests::get(&stage.base_url).await.expect("a page").text().await.expect("a text");
    assert!(page.contains("Set aside") && page.contains(&public_id), "the overview tells");
    // Tried again in vain, it waits for twice as long each time. On a slow machine it may have been
    // tried again before, and may be once more.
    let (tries, before): (i32, DateTime<Utc>) =
        sqlx::query_as("UPDATE longhaul.set_aside SET next_at = clock_timestamp() RETURNING tries, next_at")
            .fetch_one(&stage.pool)
            .await
            .expect("a row");
    until("another try", async || {
        let (now_tries, next_at, after): (i32, DateTime<Utc>, DateTime<Utc>) =
            sqlx::query_as("SELECT tries, next_at, clock_timestamp() FROM longhaul.set_aside")
                .fetch_one(&stage.pool)
                .await
                .expect("a row");
        let wait = Duration::from_secs(5) * 2_u32.pow(u32::try_from(now_tries - 1).expect("a number of tries"));
        (now_tries > tries)
            .then(|| assert!((before + wait..=after + wait).contains(&next_at), "{next_at} after {before}"))
    })
    .await;
    mend(&stage, "ready", "insert").await;
    all_end(&stage).await;
    none_aside(&stage).await;
    worker.stop().await;
}

#[tokio::test]
async fn the_rescuer_puts_back_the_neighbours_of_a_row_that_it_cant_put_back() {
    let stage = stage().await;
    let ids = stored(&stage, 8, &json!({"hangs": true})).await;
    let dying = stage.worker(mortal_worker()).await;
    until("all to be claimed", async || {
        let held = "SELECT coalesce(sum(cardinality(task_ids)), 0)::bigint FROM longhaul.lease";
        (stage.value::<i64>(held).await == 8).then_some(())
    })
    .await;
    until("all to run", async || {
        let running = "SELECT count(*) FROM longhaul.task WHERE state = 'Running'";
        (stage.value::<i64>(running).await == 8).then_some(())
    })
    .await;
    dying.kill().await;
    plant(&stage, "attempt_error", "insert", &format!("NEW.task_id = '{}'", ids[3])).await;
    let worker = stage.worker(quick_worker()).await;
    assert_eq!(aside_in(&stage, "rescuer").await, ids[3].to_string());
    others_end(&stage, &ids[3].to_string()).await;
    mend(&stage, "attempt_error", "insert").await;
    all_end(&stage).await;
    none_aside(&stage).await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.lease").await, 0);
    worker.stop().await;
}

/// A dependent, an end, a parent, and a parent's progress.
#[tokio::test]
async fn the_follower_follows_all_ends_but_the_one_that_it_cant() {
    let stage = stage().await;
    let head: String = stage.value("SELECT longhaul.enqueue('Echo', '{}', run_at => now() + interval '1 h')").await;
    stage
        .execute(format!(
            "SELECT longhaul.enqueue_after(ARRAY['{head}'], 'Echo',
             jsonb_build_object('number', n)) FROM generate_series(1, 50) n"
        ))
        .await;
    let dependent: Uuid = stage.value("SELECT id FROM longhaul.task WHERE parameters ->> 'number' = '17'").await;
    plant(&stage, "ready", "insert", &format!("NEW.id = '{dependent}'")).await;
    stage
        .execute(
            "UPDATE longhaul.scheduled SET run_at = now();
             UPDATE longhaul.task SET run_at = now() WHERE run_at IS NOT NULL",
        )
        .await;
    let worker = stage.worker(quick_worker()).await;
    assert_eq!(aside_in(&stage, "follower/dependents").await, dependent.to_string());
    others_end(&stage, &dependent.to_string()).await;
    // Others are followed meanwhile.
    let batch = async || -> String {
        stage.value("SELECT longhaul.enqueue_batch('Echo', ARRAY['{}', '{}', '{}']::jsonb[])").await
    };
    let id = batch().await;
    let body = json!({"Self": format!("{}/api/backgroundtask/{id}", stage.base_url)});
    assert_eq!(stage.ended(&body).await["State"], "Succeeded");
    mend(&stage, "ready", "insert").await;
    all_end(&stage).await;
    none_aside(&stage).await;

    for (column, service) in [("succeeded > 0", "follower/ends"), ("waiting IS FALSE", "follower/parents")] {
        worker_pauses(&stage, true).await;
        let (bad, good) = (batch().await, batch().await);
        let bad = bad.trim_start_matches("batch_").to_owned();
        plant(&stage, "family", "update", &format!("NEW.parent_id = '{bad}' AND NEW.{column}")).await;
        worker_pauses(&stage, false).await;
        aside_in(&stage, service).await;
        let body = json!({"Self": format!("{}/api/backgroundtask/{good}", stage.base_url)});
        assert_eq!(stage.ended(&body).await["State"], "Succeeded", "{service}");
        mend(&stage, "family", "update").await;
        stage.execute("DROP FUNCTION refuse_update_family").await;
        all_end(&stage).await;
        none_aside(&stage).await;
    }
    worker.stop().await;
}

/// Lets no task begin for as long.
async fn worker_pauses(stage: &Stage, paused: bool) {
    stage.execute(format!("SELECT longhaul.set_queue('echoes', paused => {paused})")).await;
}

#[tokio::test]
async fn the_progress_of_other_parents_is_shown_beside_one_that_cant_be() {
    let stage = stage().await;
    let batch = async || -> String {
        stage.value("SELECT longhaul.enqueue_batch('Echo', ARRAY['{\"hangs\": true}', '{}', '{}']::jsonb[])").await
    };
    let (bad, good) = (batch().await, batch().await);
    let bad = bad.trim_start_matches("batch_").to_owned();
    plant(&stage, "task", "update", &format!("NEW.id = '{bad}' AND NEW.message IS NOT NULL")).await;
    let worker = stage.worker(quick_worker()).await;
    assert_eq!(aside_in(&stage, "follower/progress").await, bad);
    until("the other's progress", async || {
        let (_, body) = stage.get(&format!("/api/backgroundtask/{good}")).await;
        (body["Message"] == "2 of 3 tasks done").then_some(())
    })
    .await;
    worker.kill().await;
}

#[tokio::test]
async fn the_gatekeeper_admits_in_all_queues_but_one() {
    let stage = stage().await;
    let worker = stage.worker(Settings { queues: vec!["a".to_owned(), "b".to_owned()], ..quick_worker() }).await;
    stage
        .execute("SELECT longhaul.set_queue(q, rate_count => 1, rate_seconds => 0.05) FROM unnest(ARRAY['a', 'b']) q")
        .await;
    stage
        .execute(
            "SELECT longhaul.enqueue('Echo', '{}', queue => q) FROM unnest(ARRAY['a', 'b']) q, generate_series(1, 2)",
        )
        .await;
    until("the first to end", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE finished_at IS NOT NULL").await >= 2)
            .then_some(())
    })
    .await;
    all_end(&stage).await;
    worker.stop().await;
    stage.execute("UPDATE longhaul.queue SET tokens = 0, refilled_at = now() + interval '1 s'").await;
    stage.execute("SELECT longhaul.enqueue('Echo', '{}', queue => q) FROM unnest(ARRAY['a', 'b']) q").await;
    plant(&stage, "gate", "update", "NEW.queue = 'a'").await;
    let worker = stage.worker(Settings { queues: vec!["a".to_owned(), "b".to_owned()], ..quick_worker() }).await;
    assert_eq!(aside_in(&stage, "gatekeeper").await, "a");
    until("the others to end", async || {
        let open = "SELECT count(*) FROM longhaul.task WHERE queue = 'b' AND finished_at IS NULL";
        (stage.value::<i64>(open).await == 0).then_some(())
    })
    .await;
    mend(&stage, "gate", "update").await;
    all_end(&stage).await;
    none_aside(&stage).await;
    worker.stop().await;
}

/// Settings of the queue: its tasks are taken in their order, or by turns.
#[tokio::test]
async fn the_gatekeeper_admits_all_tasks_of_a_queue_but_one() {
    for settings in ["max_running => 4", "max_running => 4, fair => true"] {
        let stage = stage().await;
        let ids = stored(&stage, 200, &json!({})).await;
        stage.execute(format!("SELECT longhaul.set_queue('echoes', {settings})")).await;
        let planted = ids[77];
        plant(&stage, "admitted", "insert", &format!("NEW.id = '{planted}'")).await;
        let worker = stage.worker(quick_worker()).await;
        assert_eq!(aside_in(&stage, "gatekeeper/tasks").await, planted.to_string());
        others_end(&stage, &planted.to_string()).await;
        mend(&stage, "admitted", "insert").await;
        all_end(&stage).await;
        none_aside(&stage).await;
        worker.stop().await;
    }
}

#[tokio::test]
async fn the_scheduler_fires_all_schedules_but_one() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    plant(&stage, "firing", "insert", "NEW.schedule = 's7'").await;
    stage
        .execute(
            "INSERT INTO longhaul.schedule (name, cron, time_zone, type, missed, next_at)
         SELECT 's' || n, '0 0 1 1 *', 'UTC', 'Echo', 'Once', now() FROM generate_series(1, 20) n",
        )
        .await;
    assert_eq!(aside_in(&stage, "scheduler").await, "s7");
    until("the others to fire", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.firing").await == 19).then_some(())
    })
    .await;
    mend(&stage, "firing", "insert").await;
    until("it to fire", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.firing WHERE schedule = 's7'").await == 1).then_some(())
    })
    .await;
    none_aside(&stage).await;
    worker.stop().await;
}

#[tokio::test]
async fn retention_removes_all_tasks_but_one() {
    let stage = stage().await;
    let ids = stored(&stage, 200, &json!({})).await;
    let worker = stage.worker(quick_worker()).await;
    all_end(&stage).await;
    worker.stop().await;
    plant(&stage, "task", "delete", &format!("OLD.id = '{}'", ids[77])).await;
    plant(&stage, "leader", "delete", "OLD.name = 'old'").await;
    stage
        .execute(
            "UPDATE longhaul.task SET finished_at = now() - interval '1 h';
         INSERT INTO longhaul.leader (name, worker_id, until) SELECT n, 1, now() - interval '1 year' FROM unnest(ARRAY['old', 'older']) n",
        )
        .await;
    let retention = longhaul_model::store::retention::Retention {
        succeeded: Duration::from_secs(1),
        ..longhaul_model::store::retention::Retention::default()
    };
    let worker =
        stage.worker(Settings { retention, retention_every: Duration::from_millis(100), ..quick_worker() }).await;
    until("the others to be removed", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.task").await == 1
            && stage.value::<i64>("SELECT count(*) FROM longhaul.leader WHERE name = 'older'").await == 0
            && stage.value::<i64>("SELECT count(*) FROM longhaul.set_aside").await == 2)
            .then_some(())
    })
    .await;
    mend(&stage, "task", "delete").await;
    mend(&stage, "leader", "delete").await;
    none_aside(&stage).await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0);
    worker.stop().await;
}

#[tokio::test]
async fn the_pulse_samples_all_queues_but_one() {
    let stage = stage().await;
    plant(&stage, "sample", "insert", "NEW.queue = 'bad'").await;
    let queues = vec!["bad".to_owned(), "good".to_owned()];
    let worker = stage.worker(Settings { queues, ..quick_worker() }).await;
    assert_eq!(aside_in(&stage, "pulse").await, "bad");
    until("the other to be sampled", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.sample WHERE queue = 'good'").await > 0).then_some(())
    })
    .await;
    worker.stop().await;
}

/// Requests of which no notification tells, one of which can't be read.
#[tokio::test]
async fn the_canceller_stops_all_tasks_but_one() {
    let stage = stage().await;
    let ids = stored(&stage, 8, &json!({"hangs": true})).await;
    let worker = stage.worker(quick_worker()).await;
    until("all to run", async || {
        let running = "SELECT count(*) FROM longhaul.task WHERE state = 'Running'";
        (stage.value::<i64>(running).await == 8).then_some(())
    })
    .await;
    stage
        .execute(format!(
            "CREATE FUNCTION readable(id uuid) RETURNS boolean LANGUAGE plpgsql AS $$
             BEGIN
                 IF id = '{}' THEN RAISE EXCEPTION 'a planted row'; END IF;
                 RETURN true;
             END $$;
             GRANT EXECUTE ON FUNCTION readable TO PUBLIC;
             ALTER TABLE longhaul.cancel_request ENABLE ROW LEVEL SECURITY;
             CREATE POLICY readable ON longhaul.cancel_request USING (readable(task_id));
             INSERT INTO longhaul.cancel_request (task_id) SELECT id FROM longhaul.task",
            ids[5]
        ))
        .await;
    assert_eq!(aside_in(&stage, "canceller").await, ids[5].to_string());
    others_end(&stage, &ids[5].to_string()).await;
    stage
        .execute(
            "ALTER TABLE longhaul.cancel_request DISABLE ROW LEVEL SECURITY;
             UPDATE longhaul.set_aside SET next_at = now()",
        )
        .await;
    all_end(&stage).await;
    none_aside(&stage).await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE state = 'Cancelled'").await, 8);
    worker.stop().await;
}

#[tokio::test]
async fn a_missing_right_is_no_rows_fault() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let run_at = longhaul_model::chrono::DateTime::from_timestamp_millis(clock.now_ms() + 50);
    let tasks: Vec<NewTask> =
        echoes(&clock, 30, &json!({})).into_iter().map(|task| NewTask { run_at, ..task }).collect();
    enqueue(&stage.pool, &tasks).await.expect("stored");
    stage.execute("ALTER TABLE longhaul.scheduled RENAME TO hidden").await;
    let worker = stage.worker(quick_worker()).await;
    until("some runs to fail", async || {
        let text = longhaul_tests::get(format!("{}/metrics", stage.base_url))
            .await
            .expect("an answer")
            .text()
            .await
            .expect("text");
        let failures = Scrape::read(&text).sum("longhaul_maintenance_failures_total", &["service=\"promoter\""]);
        (failures >= 2.0).then_some(())
    })
    .await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.set_aside").await, 0);
    stage.execute("ALTER TABLE longhaul.hidden RENAME TO scheduled").await;
    all_end(&stage).await;
    worker.stop().await;
}
