//! What follows from the end of a task, whoever ends it: streams are told at once, and the fused
//! statements do to every table what the general ones do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeZone, Utc};
use longhaul_model::store::bulk::enqueue_many;
use longhaul_model::store::claim::{Floors, claim};
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::finish::{AttemptEnd, AttemptOutcome, LeaseChanges, finish};
use longhaul_model::store::linked::enqueue_linked;
use longhaul_model::store::worker::{WorkerInfo, register};
use longhaul_model::store::{ClaimedTask, LeaseKey};
use longhaul_model::{Outcome, Progress, Registry, RunContext, RunError, TaskType, TaskTypeInfo};
use longhaul_tests::{DEADLINE, Stage, quick_worker, until};
use longhaul_worker::Settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Transaction};

/// Waits in a queue that no worker serves.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Waits {}

impl TaskType for Waits {
    const NAME: &'static str = "Waits";
    const ID_PREFIX: &'static str = "waits_";
    const QUEUE: &'static str = "unserved";

    async fn run(self, _: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

/// Longer than any test waits: what a stream says sooner, a notification brought.
const NO_POLL: Duration = Duration::from_secs(600);
const _: () = assert!(DEADLINE.as_secs() < NO_POLL.as_secs());

/// A stage whose streams live from notifications alone.
async fn stage() -> Stage {
    Stage::builder(Registry::new().with::<Waits>())
        .api(|settings| {
            settings.stream_poll = NO_POLL;
            settings.stream_heartbeat = NO_POLL;
        })
        .start()
        .await
}

/// A worker that runs none of these tasks, and follows ends as every worker does.
fn follower() -> Settings {
    Settings { queues: vec!["served".to_owned()], ..quick_worker() }
}

/// Streams these tasks, cancels one of them as psql does, and returns the last state that each
/// stream has told.
async fn cancelled(stage: &Stage, tasks: &[&str], cancel: &str) -> Vec<Value> {
    let mut streams = Vec::new();
    for task in tasks {
        let address = format!("{}/api/backgroundtask/{task}/events", stage.base_url);
        let mut response = stage.http.get(address).send().await.expect("the API answers");
        assert_eq!(response.status(), 200);
        let first = response.chunk().await.expect("it is not broken off").expect("the state now");
        streams.push((response, first.to_vec()));
    }
    let watched = i64::try_from(tasks.len()).expect("few");
    until("the tasks to be watched", async || {
        let listens = stage
            .value::<i64>(
                "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND query LIKE 'LISTEN%longhaul_progress%'",
            )
            .await;
        (listens > 0 && stage.value::<i64>("SELECT count(*) FROM longhaul.watched").await == watched).then_some(())
    })
    .await;
    let said: String = sqlx::query_scalar("SELECT longhaul.cancel(right($1, 36)::uuid)")
        .bind(cancel)
        .fetch_one(&stage.pool)
        .await
        .expect("it is cancelled");
    let committed = Instant::now();
    println!("longhaul.cancel says {said}");
    let mut states = Vec::new();
    for (task, (response, text)) in tasks.iter().zip(&mut streams) {
        let ends = async {
            while let Some(chunk) = response.chunk().await.expect("it is not broken off") {
                text.extend_from_slice(&chunk);
            }
        };
        tokio::time::timeout(DEADLINE, ends).await.unwrap_or_else(|_| panic!("the stream of {task} does not end"));
        println!("{task} told {} ms after the commit", committed.elapsed().as_millis());
        let text = String::from_utf8(text.clone()).expect("UTF-8");
        let last = text.lines().rfind(|line| !line.is_empty()).expect("a body");
        states.push(serde_json::from_str::<Value>(last).expect("JSON")["State"].clone());
    }
    states
}

async fn stored(stage: &Stage, sql: &'static str) -> String {
    stage.value::<String>(sql).await
}

#[tokio::test]
async fn a_task_that_is_cancelled_from_sql_ends_its_stream_at_once() {
    let stage = stage().await;
    let task = stored(&stage, "SELECT longhaul.enqueue('Waits')").await;
    assert_eq!(cancelled(&stage, &[&task], &task).await, ["Cancelled"]);
}

#[tokio::test]
async fn children_that_are_cancelled_with_their_parent_end_their_streams_at_once() {
    let stage = stage().await;
    let batch = stored(&stage, "SELECT longhaul.enqueue_batch('Waits', ARRAY['{}', '{}']::jsonb[])").await;
    let children: Vec<String> = sqlx::query_scalar("SELECT 'waits_' || id FROM longhaul.child ORDER BY number")
        .fetch_all(&stage.pool)
        .await
        .expect("children");
    let worker = stage.worker(follower()).await;
    let streamed = [children[0].as_str(), children[1].as_str(), batch.as_str()];
    assert_eq!(cancelled(&stage, &streamed, &batch).await, ["Cancelled", "Cancelled", "Cancelled"]);
    worker.stop().await;
}

#[tokio::test]
async fn a_task_that_ends_since_another_did_not_succeed_ends_its_stream_at_once() {
    let stage = stage().await;
    let first = stored(&stage, "SELECT longhaul.enqueue('Waits')").await;
    let after: String = sqlx::query_scalar("SELECT longhaul.enqueue_after(ARRAY[$1], 'Waits', '{}', 'Fail')")
        .bind(&first)
        .fetch_one(&stage.pool)
        .await
        .expect("it is stored");
    let worker = stage.worker(follower()).await;
    assert_eq!(cancelled(&stage, &[&first, &after], &first).await, ["Cancelled", "Failed"]);
    worker.stop().await;
}

/// Every row of every table of the queue. Times are only there or not, and what ids there are
/// are told by their order.
async fn tables(connection: &mut PgConnection) -> BTreeMap<String, Vec<Value>> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'longhaul'::regnamespace AND relkind = 'r' ORDER BY 1",
    )
    .fetch_all(&mut *connection)
    .await
    .expect("tables");
    assert!(names.len() > 25, "{names:?}");
    let mut all = BTreeMap::new();
    for name in names {
        let sql = AssertSqlSafe(format!("SELECT to_jsonb(t) FROM longhaul.{name} t ORDER BY to_jsonb(t)::text"));
        let rows: Vec<Value> = sqlx::query_scalar(sql).fetch_all(&mut *connection).await.expect("rows");
        all.insert(name, rows.into_iter().map(without_times).collect());
    }
    all
}

fn without_times(row: Value) -> Value {
    match row {
        Value::Object(columns) => columns.into_iter().map(|(name, value)| (name, without_times(value))).collect(),
        Value::String(text) if DateTime::parse_from_rfc3339(&text).is_ok() => json!("a time"),
        other => other,
    }
}

fn assert_same(name: &str, fused: &BTreeMap<String, Vec<Value>>, general: &BTreeMap<String, Vec<Value>>) {
    for (table, rows) in general {
        assert_eq!(fused.get(table), Some(rows), "{name}: {table}");
    }
}

fn success(task: &ClaimedTask, special: bool) -> AttemptEnd {
    AttemptEnd {
        id: task.id,
        lease_number: task.lease.number,
        attempt: task.attempt,
        elapsed: Duration::from_millis(1),
        progress: Progress::of(3, 3).with_message("Done"),
        checkpoint: Some(json!({"at": 3})),
        verdict: AttemptOutcome::Succeeded(Some(json!({"sum": 6}))),
        asked_to_cancel: false,
        special,
    }
}

#[tokio::test]
async fn plain_successes_do_to_every_table_what_the_general_end_does() {
    let stage = stage().await;
    let info = WorkerInfo {
        name: "by hand".to_owned(),
        version: "0".to_owned(),
        queues: vec!["unserved".to_owned()],
        slots: 4,
        heartbeat: Duration::from_secs(600),
    };
    stage.enqueue(TaskTypeInfo::of::<Waits>(), vec![json!({}); 2]).await;
    let lease = LeaseKey { worker_id: register(&stage.pool, &info).await.expect("an id"), number: 1 };
    let mut floors = Floors::new(info.queues, None);
    let tasks = claim(&stage.pool, &mut floors, lease, 4).await.expect("a claim");
    assert_eq!(tasks.len(), 2);
    // One was admitted to its queue, which has limits, and is streamed.
    sqlx::raw_sql(
        "SELECT longhaul.set_queue('unserved', max_running => 5);
         INSERT INTO longhaul.admitted (id, queue, key) SELECT id, queue, '' FROM longhaul.task LIMIT 1;
         INSERT INTO longhaul.watched (id, watcher, until) SELECT id, gen_random_uuid(), now() + interval '1 hour' FROM longhaul.task LIMIT 1",
    )
    .execute(&stage.pool)
    .await
    .expect("a gate");
    let mut effects = Vec::new();
    for special in [false, true] {
        let mut transaction = stage.pool.begin().await.expect("a transaction");
        let before = tables(&mut transaction).await;
        let ends: Vec<AttemptEnd> = tasks.iter().map(|task| success(task, special)).collect();
        let leases = LeaseChanges { emptied: vec![lease.number], shortened: vec![] };
        let changed = finish(&mut transaction, lease.worker_id, &ends, &leases).await.expect("they end");
        assert_eq!(changed.len(), 2);
        let after = tables(&mut transaction).await;
        for table in ["task", "lease", "admitted", "successes"] {
            assert_ne!(before[table], after[table], "{table}");
        }
        effects.push(after);
        transaction.rollback().await.expect("a rollback");
    }
    assert_same("an end", &effects[0], &effects[1]);
    let ends: Vec<AttemptEnd> = tasks.iter().map(|task| success(task, false)).collect();
    let leases = LeaseChanges { emptied: vec![lease.number], shortened: vec![] };
    longhaul_tests::finish(&stage.pool, lease.worker_id, &ends, &leases).await.expect("they end");
}

/// What tables are like when these tasks have been stored so; nothing stays.
async fn stored_by(
    stage: &Stage,
    tasks: &[NewTask],
    store: impl AsyncFnOnce(&mut Transaction<'_, Postgres>, Vec<NewTask>),
) -> BTreeMap<String, Vec<Value>> {
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    store(&mut transaction, tasks.to_vec()).await;
    let tables = tables(&mut transaction).await;
    assert_eq!(tables["task"].len(), tasks.len());
    assert_eq!(tables["ready"].len() + tables["scheduled"].len(), tasks.len());
    transaction.rollback().await.expect("a rollback");
    tables
}

#[tokio::test]
async fn fast_statements_store_in_every_table_what_the_general_one_does() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let plain = NewTask {
        created_by: Some("a caller".to_owned()),
        key: Some("a key".to_owned()),
        ..NewTask::new(clock.new_id(), TaskTypeInfo::of::<Waits>(), json!({"a": 1}))
    };
    let other = NewTask { id: clock.new_id(), progress: Progress::of(1, 4).with_message("Begun"), ..plain.clone() };
    let mut tagged = NewTask { id: clock.new_id(), ..plain.clone() };
    tagged.options.tags = vec!["a, \"b\"".to_owned(), "c\\".to_owned()];
    let mut limited = NewTask { id: clock.new_id(), ..plain.clone() };
    limited.options.timeout = Some(Duration::from_millis(1500));
    let delayed = NewTask {
        id: clock.new_id(),
        run_at: Some(Utc.with_ymd_and_hms(2030, 1, 1, 0, 0, 0).single().expect("a time")),
        ..plain.clone()
    };
    let due = NewTask { id: clock.new_id(), run_at: Some(DateTime::UNIX_EPOCH), ..plain.clone() };
    for (name, tasks) in [
        ("one plain task", vec![plain.clone()]),
        ("two plain tasks", vec![plain.clone(), other.clone()]),
        ("one with a time limit", vec![limited.clone()]),
        ("one delayed", vec![delayed.clone()]),
        ("one with tags", vec![tagged.clone()]),
        ("one of each", vec![plain.clone(), other, limited, delayed, tagged, due]),
    ] {
        let general = stored_by(&stage, &tasks, async |transaction, tasks| {
            enqueue_linked(transaction, &tasks, &[], None).await.expect("stored");
        })
        .await;
        let fast = stored_by(&stage, &tasks, async |transaction, tasks| {
            enqueue(&mut **transaction, &tasks).await.expect("stored");
        })
        .await;
        assert_same(name, &fast, &general);
        let copied = stored_by(&stage, &tasks, async |transaction, tasks| {
            enqueue_many(transaction, tasks).await.expect("stored");
        })
        .await;
        assert_same(&format!("{name}, by COPY"), &copied, &general);
    }

    // From SQL, with all that longhaul.enqueue takes; the id is one that it makes.
    let mut all = NewTask { run_at: Some(DateTime::UNIX_EPOCH), ..plain.clone() };
    all.options.timeout = Some(Duration::from_secs(5));
    all.options.tags = vec!["a".to_owned(), "b".to_owned()];
    for (task, arguments) in [
        (plain, ""),
        (all.clone(), ", timeout => '5 s', tags => '{a,b}'"),
        (
            NewTask { run_at: Some(Utc.with_ymd_and_hms(2030, 1, 1, 0, 0, 0).single().expect("a time")), ..all },
            ", timeout => '5 s', tags => '{a,b}', run_at => '2030-01-01 00:00:00Z'",
        ),
    ] {
        let general = stored_by(&stage, std::slice::from_ref(&task), async |transaction, tasks| {
            enqueue_linked(transaction, &tasks, &[], None).await.expect("stored");
        })
        .await;
        let mut made = String::new();
        let from_sql = stored_by(&stage, std::slice::from_ref(&task), async |transaction, _| {
            let sql = format!(
                "SELECT longhaul.enqueue('Waits', '{{\"a\": 1}}', created_by => 'a caller', key => 'a key'{arguments})"
            );
            made = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut **transaction).await.expect("stored");
        })
        .await;
        let guid =
            serde_json::to_string(&from_sql).expect("JSON").replace(&made["waits_".len()..], &task.id.to_string());
        assert_same(arguments, &serde_json::from_str(&guid).expect("JSON"), &general);
    }
}
