//! Running again what failed or was cancelled: deep families, the last attempt that can be
//! counted; and what ends leave behind: keys and requests.

use std::time::{Duration, Instant};

use longhaul_model::serde_json::json;
use longhaul_model::store::cancel::{Retried, cancel, retry};
use longhaul_model::store::claim::{Floors, claim};
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::finish::{AttemptEnd, AttemptOutcome, LeaseChanges};
use longhaul_model::store::linked::follow;
use longhaul_model::store::retention::{Retention, Walk, prune};
use longhaul_model::store::worker::{WorkerInfo, register};
use longhaul_model::store::{LeaseKey, cancel::requested};
use longhaul_model::{Outcome, Progress, Registry, RunContext, RunError, TaskType};
use longhaul_tests::{Stage, finish, quick_worker, until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
struct Echo {
    #[serde(default)]
    number: i64,
}

impl TaskType for Echo {
    const NAME: &'static str = "Echo";
    const ID_PREFIX: &'static str = "echo-";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Outcome::with_result(json!(self.number))
    }
}

async fn stage() -> Stage {
    Stage::with_registry(Registry::new().with::<Echo>()).await
}

async fn one_task(stage: &Stage) -> Uuid {
    let clock = stage.clock().await;
    let registry = Registry::new().with::<Echo>();
    let task = NewTask::new(clock.new_id(), *registry.get("Echo").expect("a type").info(), json!({}));
    enqueue(&stage.pool, std::slice::from_ref(&task)).await.expect("stored");
    task.id
}

/// A chain of tasks, each of which waits for the one before; its head's guid.
async fn chain(stage: &Stage, length: i64) -> Uuid {
    let sql = format!(
        "CREATE TEMPORARY TABLE link AS
             SELECT n, longhaul.new_id() AS id FROM generate_series(1, {length}) n;
         INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, parameters, state, followed)
         SELECT id, 'Echo', 'default', 5, 3, jsonb_build_object('number', n), 'Queued', true FROM link;
         INSERT INTO longhaul.dependency (task_id, on_id, if_failed)
         SELECT l.id, o.id, 'Cancel' FROM link l JOIN link o ON o.n = l.n - 1;
         INSERT INTO longhaul.blocked (id, open) SELECT id, 1 FROM link WHERE n > 1;
         INSERT INTO longhaul.ready (queue, priority, id) SELECT 'default', 5, id FROM link WHERE n = 1;
         DROP TABLE link"
    );
    stage.execute(&sql).await;
    stage.execute("ANALYZE longhaul.task; ANALYZE longhaul.dependency").await;
    stage.value("SELECT id FROM longhaul.task WHERE parameters ->> 'number' = '1'").await
}

async fn count(stage: &Stage, state: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM longhaul.task WHERE state = '{state}'");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&stage.pool).await.expect("a count")
}

/// As many links as a batch may have tasks.
#[tokio::test]
async fn the_head_of_a_cancelled_chain_of_ten_thousand_runs_again_with_all_of_it() {
    const LENGTH: i64 = 10_000;
    let stage = stage().await;
    let head = chain(&stage, LENGTH).await;
    cancel(&stage.pool, head).await.expect("an answer");
    // As following the chain link by link would leave it.
    stage
        .execute(
            "UPDATE longhaul.task SET state = 'Cancelled', finished_at = now() WHERE state <> 'Cancelled';
         UPDATE longhaul.dependency SET outcome = 'Broken'; DELETE FROM longhaul.blocked; DELETE FROM longhaul.ended",
        )
        .await;
    let began = Instant::now();
    assert_eq!(retry(&stage.pool, head).await.expect("an answer"), Some(Retried::Queued));
    let took = began.elapsed();
    println!("a chain of {LENGTH} took {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(count(&stage, "Queued").await, LENGTH);
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.ready").await, 1);
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.blocked WHERE open = 1").await, LENGTH - 1);
}

#[tokio::test]
async fn a_chain_runs_to_its_end_after_its_head_was_run_again() {
    let stage = stage().await;
    let head = chain(&stage, 60).await;
    cancel(&stage.pool, head).await.expect("an answer");
    while follow(&stage.pool).await.expect("an answer") > 0 {}
    assert_eq!(count(&stage, "Cancelled").await, 60);
    assert_eq!(retry(&stage.pool, head).await.expect("an answer"), Some(Retried::Queued));
    let worker = stage.worker(quick_worker()).await;
    until("all to succeed", async || (count(&stage, "Succeeded").await == 60).then_some(())).await;
    worker.stop().await;
}

/// The last of the diamond waits for both of its sides again, one longer than the other.
#[tokio::test]
async fn what_waits_for_several_waits_for_all_of_them_again() {
    let stage = stage().await;
    let enqueue = async |after: &str| -> String {
        let sql = if after.is_empty() {
            "SELECT longhaul.enqueue('Echo')".to_owned()
        } else {
            format!("SELECT longhaul.enqueue_after(ARRAY[{after}], 'Echo')")
        };
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&stage.pool).await.expect("stored")
    };
    let head = enqueue("").await;
    let side = enqueue(&format!("'{head}'")).await;
    let longer = enqueue(&format!("'{side}'")).await;
    let last = enqueue(&format!("'{head}', '{longer}'")).await;
    let id = |public: &str| -> Uuid { public.trim_start_matches("echo-").parse().expect("a guid") };
    cancel(&stage.pool, id(&head)).await.expect("an answer");
    while follow(&stage.pool).await.expect("an answer") > 0 {}
    assert_eq!(count(&stage, "Cancelled").await, 4);
    assert_eq!(retry(&stage.pool, id(&head)).await.expect("an answer"), Some(Retried::Queued));
    let open: i32 = sqlx::query_scalar("SELECT open FROM longhaul.blocked WHERE id = $1")
        .bind(id(&last))
        .fetch_one(&stage.pool)
        .await
        .expect("it waits");
    assert_eq!(open, 2);
}

/// Batches of batches, five deep and four wide.
#[tokio::test]
async fn a_deep_family_is_run_again_as_a_whole() {
    const DEEP: i32 = 5;
    let stage = stage().await;
    let sql = format!(
        "CREATE TEMPORARY TABLE member AS
         WITH RECURSIVE m(path) AS (
             SELECT '1'::text UNION ALL
             SELECT m.path || '.' || n FROM m, generate_series(1, 4) n WHERE length(m.path) < {}
         ) SELECT path, longhaul.new_id() AS id, NULL::uuid AS parent FROM m;
         UPDATE member m SET parent = p.id FROM member p WHERE p.path = left(m.path, -2);
         INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, parameters, state, finished_at, error, parent_id, followed)
         SELECT id, CASE WHEN length(path) = {} THEN 'Echo' ELSE 'Batch' END, 'default', 5, 1, '{{}}', 'Failed', now(), '{{}}', parent, true FROM member;
         INSERT INTO longhaul.family (parent_id, children, failed, elements, if_failed, waiting, resume)
         SELECT parent, count(*), count(*), count(*), 'Continue', false, false FROM member WHERE parent IS NOT NULL GROUP BY parent;
         INSERT INTO longhaul.child (parent_id, number, id)
         SELECT parent, row_number() OVER (PARTITION BY parent ORDER BY path), id FROM member WHERE parent IS NOT NULL;
         SELECT longhaul.note_unsuccessful(ARRAY(SELECT id FROM member));
         DROP TABLE member",
        DEEP * 2 - 1,
        DEEP * 2 - 1
    );
    stage.execute(&sql).await;
    let head: Uuid = stage.value("SELECT id FROM longhaul.task WHERE parent_id IS NULL").await;
    assert_eq!(retry(&stage.pool, head).await.expect("an answer"), Some(Retried::Queued));
    assert_eq!((count(&stage, "Queued").await, count(&stage, "Running").await), (256, 85));
    let worker = stage.worker(quick_worker()).await;
    until("the family to end", async || (count(&stage, "Succeeded").await == 341).then_some(())).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_task_at_the_last_attempt_that_can_be_counted_is_not_run_again() {
    let stage = stage().await;
    let id = one_task(&stage).await;
    cancel(&stage.pool, id).await.expect("an answer");
    let with = async |attempt: i32| {
        stage.execute(format!("UPDATE longhaul.task SET attempt = {attempt}, max_attempts = {attempt}")).await;
    };
    with(32_767).await;
    assert_eq!(retry(&stage.pool, id).await.expect("an answer"), Some(Retried::Exhausted));
    let url = format!("{}/api/backgroundtask/echo-{id}/retry", stage.base_url);
    let answer = stage.http.post(url).send().await.expect("an answer");
    assert_eq!(answer.status(), 409);
    let says = answer.text().await.expect("a text");
    assert!(says.contains("32,767 attempts"), "{says}");
    // Just below, it has the attempts that can be counted.
    with(32_766).await;
    assert_eq!(retry(&stage.pool, id).await.expect("an answer"), Some(Retried::Queued));
    assert_eq!(stage.value::<i16>("SELECT max_attempts FROM longhaul.task").await, 32_767);
    let worker = stage.worker(quick_worker()).await;
    until("it to succeed", async || (count(&stage, "Succeeded").await == 1).then_some(())).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_unique_key_with_a_period_outlives_its_task() {
    let stage = stage().await;
    let store = async |period: &str| -> String {
        let key = period.len();
        let sql = format!("SELECT longhaul.enqueue('Echo', unique_key => 'x{key}', unique_for => {period})");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&stage.pool).await.expect("stored")
    };
    let (long, short) = (store("interval '30 days'").await, store("NULL").await);
    let worker = stage.worker(quick_worker()).await;
    until("both to succeed", async || (count(&stage, "Succeeded").await == 2).then_some(())).await;
    worker.stop().await;
    stage.execute("UPDATE longhaul.task SET finished_at = now() - interval '8 days'").await;
    let now_ms = stage.clock().await.now_ms() + 9 * 24 * 3_600_000;
    let mut walk = Walk::default();
    while walk.step(&stage.pool, &Retention::default(), now_ms, 100).await.expect("a step").more {}
    prune(&stage.pool, &Retention::default()).await.expect("a pruning");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0);
    assert_eq!(store("interval '30 days'").await, long, "its key is not free yet");
    assert_ne!(store("NULL").await, short, "this one was free when its task ended");
    stage.execute("UPDATE longhaul.task_key SET expires_at = now() WHERE expires_at IS NOT NULL").await;
    assert_ne!(store("interval '30 days'").await, long, "its time is over");
}

/// A task in the hands of this test.
struct Held {
    worker_id: i32,
    lease: LeaseKey,
    id: Uuid,
}

impl Held {
    async fn claim(stage: &Stage, number: i64) -> Held {
        let info = WorkerInfo {
            name: "by hand".to_owned(),
            version: "1".to_owned(),
            queues: vec!["default".to_owned()],
            slots: 1,
            heartbeat: Duration::from_secs(3_600),
        };
        let worker_id = register(&stage.pool, &info).await.expect("registered");
        let id = one_task(stage).await;
        let lease = LeaseKey { worker_id, number };
        let mut floors = Floors::new(info.queues, None);
        let claimed = claim(&stage.pool, &mut floors, lease, 1).await.expect("a claim");
        assert_eq!(claimed[0].id, id);
        Held { worker_id, lease, id }
    }

    fn end(&self, verdict: AttemptOutcome) -> AttemptEnd {
        AttemptEnd {
            id: self.id,
            lease_number: self.lease.number,
            attempt: 1,
            elapsed: Duration::from_millis(5),
            progress: Progress::unknown(),
            checkpoint: None,
            verdict,
            asked_to_cancel: false,
            special: false,
        }
    }

    async fn finish(&self, stage: &Stage, verdict: AttemptOutcome) {
        let leases = LeaseChanges { emptied: vec![self.lease.number], shortened: Vec::new() };
        let changed = finish(&stage.pool, self.worker_id, &[self.end(verdict)], &leases).await.expect("an end");
        assert_eq!(changed, [self.id]);
    }
}

/// Whatever the end is, and though the attempt was not told of the request.
#[tokio::test]
async fn every_end_removes_a_request_to_cancel() {
    let stage = stage().await;
    let problem = longhaul_model::Problem::new(longhaul_model::problem::ATTEMPT_FAILED, "x");
    let verdicts =
        [AttemptOutcome::Succeeded(None), AttemptOutcome::Failed(problem.clone(), None), AttemptOutcome::Cancelled];
    for (number, verdict) in (1..).zip(verdicts) {
        let held = Held::claim(&stage, number).await;
        cancel(&stage.pool, held.id).await.expect("an answer");
        assert_eq!(requested(&stage.pool, &[held.id]).await.expect("an answer"), [held.id]);
        held.finish(&stage, verdict).await;
        while follow(&stage.pool).await.expect("an answer") > 0 {}
        assert!(requested(&stage.pool, &[held.id]).await.expect("an answer").is_empty());
    }
    // It comes while the end waits for the row: the end began first.
    let held = Held::claim(&stage, 9).await;
    let mut asking = stage.pool.begin().await.expect("a transaction");
    cancel(&mut *asking, held.id).await.expect("an answer");
    let end = held.finish(&stage, AttemptOutcome::Succeeded(None));
    let commit = async {
        until("the end to wait", async || {
            let waits =
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
            (stage.value::<i64>(waits).await > 0).then_some(())
        })
        .await;
        asking.commit().await.expect("a commit");
    };
    tokio::join!(end, commit);
    while follow(&stage.pool).await.expect("an answer") > 0 {}
    assert!(requested(&stage.pool, &[held.id]).await.expect("an answer").is_empty());
    // It failed, waits for its next attempt, and is cancelled there.
    let held = Held::claim(&stage, 10).await;
    cancel(&stage.pool, held.id).await.expect("an answer");
    held.finish(&stage, AttemptOutcome::Retry(Duration::from_secs(60), problem, None)).await;
    cancel(&stage.pool, held.id).await.expect("an answer");
    while follow(&stage.pool).await.expect("an answer") > 0 {}
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.cancel_request").await, 0);
}
