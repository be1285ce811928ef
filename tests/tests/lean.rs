//! What statements leave out while nothing needs it, and what is done all the same when
//! something does (docs/adr/0008-performance-history.md, "One task per statement").

use std::time::Duration;

use chrono::{DateTime, Utc};
use longhaul_api::Enqueuer;
use longhaul_model::store::claim::{Floors, claim};
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::finish::{AttemptEnd, AttemptOutcome, LeaseChanges};
use longhaul_model::store::keyed::{Stored, enqueue_unique};
use longhaul_model::store::progress::{Details, ProgressWrite, flush};
use longhaul_model::store::rescue::{Rescued, rescue};
use longhaul_model::store::worker::{WorkerInfo, register};
use longhaul_model::store::{ClaimedTask, LeaseKey};
use longhaul_model::{DatabaseClock, Outcome, Progress, Registry, RunContext, RunError, TaskType, TaskTypeInfo};
use longhaul_tests::{Stage, finish, quick_worker, until};
use longhaul_worker::{Settings, Worker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tokio_util::sync::CancellationToken;

/// Runs until it is cancelled.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Stays {}

impl TaskType for Stays {
    const NAME: &'static str = "Stays";
    const ID_PREFIX: &'static str = "stays-";

    fn unique_key(&self) -> Option<String> {
        Some("the one".to_owned())
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        context.cancellation().cancelled().await;
        Ok(Outcome::Cancelled)
    }
}

/// Has nothing to do.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Nothing {}

impl TaskType for Nothing {
    const NAME: &'static str = "Nothing";
    const ID_PREFIX: &'static str = "nothing-";

    async fn run(self, _: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

fn stays() -> TaskTypeInfo {
    TaskTypeInfo::of::<Stays>()
}

fn registry() -> Registry {
    Registry::new().with::<Stays>().with::<Nothing>()
}

async fn stage() -> Stage {
    Stage::with_registry(registry()).await
}

fn worker_info() -> WorkerInfo {
    WorkerInfo {
        name: "by hand".to_owned(),
        version: "0".to_owned(),
        queues: vec!["default".to_owned()],
        slots: 4,
        heartbeat: Duration::from_secs(60),
    }
}

async fn claimed(stage: &Stage) -> Vec<ClaimedTask> {
    let info = worker_info();
    let lease = LeaseKey { worker_id: register(&stage.pool, &info).await.expect("an id"), number: 1 };
    let mut floors = Floors::new(info.queues, None);
    claim(&stage.pool, &mut floors, lease, 4).await.expect("a claim")
}

fn success(task: &ClaimedTask) -> AttemptEnd {
    AttemptEnd {
        id: task.id,
        lease_number: task.lease.number,
        attempt: task.attempt,
        elapsed: Duration::from_millis(1),
        progress: Progress::unknown(),
        checkpoint: None,
        verdict: AttemptOutcome::Succeeded(None),
        asked_to_cancel: false,
        special: task.special,
    }
}

fn progress_of(task: &ClaimedTask) -> ProgressWrite {
    ProgressWrite {
        id: task.id,
        lease_number: task.lease.number,
        attempt: task.attempt,
        elapsed: Duration::from_millis(1),
        progress: Progress::unknown(),
        checkpoint: None,
        details: Details::default(),
    }
}

/// One connection, as an engine has them.
fn engine(stage: &Stage) -> PgPool {
    let options: PgConnectOptions = stage.logins().worker.parse().expect("an address");
    PgPoolOptions::new().max_connections(1).connect_lazy_with(options.options(longhaul_worker::SESSION))
}

/// Until it ends, nothing that is deleted can be removed.
async fn old_snapshot(stage: &Stage) -> Transaction<'static, Postgres> {
    let mut old = stage.pool.begin().await.expect("a transaction");
    let snapshot = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1";
    sqlx::raw_sql(snapshot).execute(&mut *old).await.expect("a snapshot");
    old
}

/// Ends both tasks of a lease as its worker does; all of it must be stored.
async fn end_both(stage: &Stage, tasks: &[ClaimedTask]) {
    let ends: Vec<_> = tasks.iter().map(success).collect();
    assert!(ends.iter().all(|end| !end.special), "nothing special was known at the claim");
    let lease = tasks[0].lease;
    let leases = LeaseChanges { emptied: vec![lease.number], shortened: vec![] };
    let changed = finish(&stage.pool, lease.worker_id, &ends, &leases).await.expect("a finish");
    assert_eq!(changed.len(), 2);
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'").await, 2);
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.lease").await, 0);
    // The answer may have been lost.
    assert!(finish(&stage.pool, lease.worker_id, &ends, &leases).await.expect("again").is_empty());
}

#[tokio::test]
async fn an_end_that_others_began_to_wait_for_after_the_claim_is_told_them() {
    let stage = stage().await;
    stage.enqueue(stays(), vec![json!({}), json!({})]).await;
    let tasks = claimed(&stage).await;
    let unknown: Vec<uuid::Uuid> = sqlx::query_scalar("SELECT longhaul.follow_ends($1)")
        .bind(vec![tasks[1].id])
        .fetch_one(&stage.pool)
        .await
        .expect("followed");
    assert!(unknown.is_empty());
    end_both(&stage, &tasks).await;
    assert_eq!(stage.value::<uuid::Uuid>("SELECT id FROM longhaul.ended").await, tasks[1].id);
}

#[tokio::test]
async fn a_unique_key_is_free_when_its_task_has_ended_whatever_the_claim_knew() {
    let stage = stage().await;
    stage.enqueue(stays(), vec![json!({})]).await;
    let unique = NewTask::of(uuid::Uuid::now_v7(), &Stays {}).expect("a task");
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    let stored = enqueue_unique(&mut transaction, &unique).await.expect("stored");
    transaction.commit().await.expect("a commit");
    assert!(matches!(stored, Stored::New(_)), "{stored:?}");
    let mut tasks = claimed(&stage).await;
    assert_eq!(tasks.iter().filter(|task| task.special).count(), 1, "the claim tells that there is a key");
    tasks.iter_mut().for_each(|task| task.special = false);
    end_both(&stage, &tasks).await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task_key").await, 0);
}

#[tokio::test]
async fn plans_from_an_empty_queue_do_not_read_a_full_one_from_end_to_end() {
    let stage = stage().await;
    let engine = engine(&stage);
    // As after a quiet night: empty tables, which the planner takes for free to read.
    for table in ["task", "ready", "lease"] {
        let vacuum = format!("VACUUM ANALYZE longhaul.{table}");
        sqlx::query(sqlx::AssertSqlSafe(vacuum)).execute(&stage.pool).await.expect("a vacuum");
    }
    let info = worker_info();
    let worker_id = register(&engine, &info).await.expect("an id");
    let mut floors = Floors::new(info.queues, None);
    // Often enough that the plan is kept.
    for number in 0..8 {
        let lease = LeaseKey { worker_id, number };
        assert!(claim(&engine, &mut floors, lease, 100).await.expect("a claim").is_empty());
    }
    // And of ends, while there are few tasks. (Ids of two clocks may be in another order
    // within some milliseconds: the claims look everywhere.)
    for number in 8..16 {
        stage.enqueue(stays(), vec![json!({})]).await;
        floors.look_around();
        let lease = LeaseKey { worker_id, number };
        let few = claim(&engine, &mut floors, lease, 100).await.expect("a claim");
        let leases = LeaseChanges { emptied: vec![number], shortened: vec![] };
        let ends: Vec<_> = few.iter().map(success).collect();
        assert_eq!(finish(&engine, worker_id, &ends, &leases).await.expect("a finish").len(), 1);
    }
    stage.enqueue(stays(), vec![json!({}); 300]).await;
    floors.look_around();

    let mut transaction = engine.begin().await.expect("a transaction");
    let lease = LeaseKey { worker_id, number: 100 };
    let before = entries_read(&mut transaction, "task_pkey").await;
    let tasks = claim(&mut *transaction, &mut floors, lease, 100).await.expect("a claim");
    assert_eq!(tasks.len(), 100);
    let read = entries_read(&mut transaction, "task_pkey").await - before;
    assert!(read < 200, "of 300 tasks, {read} entries of the index were read for 100");
    let scans = "SELECT sum(seq_scan)::bigint, sum(idx_scan)::bigint FROM pg_stat_xact_user_tables
                  WHERE schemaname = 'longhaul' AND relname IN ('task', 'ready', 'lease')";
    let (from_end_to_end, by_index): (i64, i64) =
        sqlx::query_as(scans).fetch_one(&mut *transaction).await.expect("counts");
    transaction.commit().await.expect("a commit");
    assert_eq!(from_end_to_end, 0);
    assert!(by_index >= 100, "{by_index}");

    let ends: Vec<_> = tasks.iter().map(success).collect();
    let leases = LeaseChanges { emptied: vec![lease.number], shortened: vec![] };
    let mut transaction = engine.begin().await.expect("a transaction");
    let before = entries_read(&mut transaction, "task_pkey").await;
    let changed = longhaul_model::store::finish::finish(&mut transaction, worker_id, &ends, &leases).await;
    assert_eq!(changed.expect("a finish").len(), 100);
    let read = entries_read(&mut transaction, "task_pkey").await - before;
    assert!(read < 200, "of 300 tasks, {read} entries of the index were read for 100");
    let (from_end_to_end, _): (i64, i64) = sqlx::query_as(scans).fetch_one(&mut *transaction).await.expect("counts");
    transaction.commit().await.expect("a commit");
    assert_eq!(from_end_to_end, 0);
}

#[tokio::test]
async fn a_lane_that_finds_all_it_has_room_for_wakes_the_next() {
    let stage = stage().await;
    let settings = Settings { slots: 4, lanes: 4, poll_every: Duration::from_secs(3_600), ..quick_worker() };
    let worker = stage.worker(settings).await;
    let running = "SELECT count(*) FROM longhaul.task WHERE state = 'Running'";
    // The lanes look once by themselves, and find nothing or this one.
    stage.enqueue(stays(), vec![json!({})]).await;
    until("the first to run", async || (stage.value::<i64>(running).await == 1).then_some(())).await;
    sqlx::query("SELECT longhaul.cancel(id) FROM longhaul.task").execute(&stage.pool).await.expect("cancelled");
    let cancelled = "SELECT count(*) FROM longhaul.task WHERE state = 'Cancelled'";
    until("the first to end", async || (stage.value::<i64>(cancelled).await == 1).then_some(())).await;

    stage.enqueue(stays(), vec![json!({}); 4]).await;
    until("all four to run", async || (stage.value::<i64>(running).await == 4).then_some(())).await;
    sqlx::query("SELECT longhaul.cancel(id) FROM longhaul.task").execute(&stage.pool).await.expect("cancelled");
    worker.stop().await;
}

/// One after the other, so that each has claim and end of its own.
async fn run_in_turn(stage: &Stage, tasks: usize) {
    for number in 1..=tasks {
        stage.enqueue(TaskTypeInfo::of::<Nothing>(), vec![json!({})]).await;
        let ended = "SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'";
        until("a task to end", async || (stage.value::<i64>(ended).await >= number as i64).then_some(())).await;
    }
}

#[tokio::test]
async fn a_lane_stores_over_one_connection() {
    let stage = stage().await;
    sqlx::raw_sql(
        "CREATE TABLE public.backend (pid int PRIMARY KEY);
         CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
         BEGIN
             INSERT INTO public.backend VALUES (pg_backend_pid()) ON CONFLICT DO NOTHING;
             RETURN NULL;
         END $$;
         CREATE TRIGGER note AFTER UPDATE ON longhaul.task FOR EACH ROW WHEN (NEW.state = 'Succeeded')
             EXECUTE FUNCTION public.note()",
    )
    .execute(&stage.pool)
    .await
    .expect("a trigger");
    let worker = stage.worker(Settings { lanes: 1, ..quick_worker() }).await;
    run_in_turn(&stage, 40).await;
    // While all others are in use, it is given back. In turn there would be eight.
    let backends = stage.value::<i64>("SELECT count(*) FROM public.backend").await;
    assert!(backends < 5, "{backends}");
    worker.stop().await;
}

#[tokio::test]
async fn lanes_leave_a_small_pool_to_the_heartbeat() {
    let stage = stage().await;
    let options: PgConnectOptions = stage.logins().worker.parse().expect("an address");
    let small = PgPoolOptions::new().max_connections(3).connect_lazy_with(options);
    let settings = Settings { lanes: 4, heartbeat: Duration::from_millis(200), ..quick_worker() };
    let stop = CancellationToken::new();
    let running = tokio::spawn(Worker::new(small, registry(), settings).run(stop.clone()));
    run_in_turn(&stage, 10).await;
    let last = stage.value::<DateTime<Utc>>("SELECT heartbeat_at FROM longhaul.worker").await;
    until("it to beat on", async || {
        let now = "SELECT heartbeat_at FROM longhaul.worker WHERE lost_at IS NULL";
        (stage.value::<DateTime<Utc>>(now).await > last).then_some(())
    })
    .await;
    run_in_turn(&stage, 12).await;
    stop.cancel();
    running.await.expect("no panic").expect("it ends in order");
}

/// How many entries of an index this session has read, dead ones too, since it last told
/// the server.
async fn entries_read(connection: &mut PgConnection, index: &str) -> i64 {
    sqlx::query_scalar("SELECT pg_stat_get_xact_tuples_returned(('longhaul.' || $1)::regclass)")
        .bind(index)
        .fetch_one(connection)
        .await
        .expect("a count")
}

#[tokio::test]
async fn those_who_store_at_the_same_time_share_a_commit() {
    let stage = stage().await;
    let enqueuer = Enqueuer::start(&stage.pool);
    let clock = stage.clock().await;
    let tasks: Vec<_> = (0..16).map(|_| NewTask::new(clock.new_id(), stays(), json!({}))).collect();
    let ids: Vec<_> = tasks.iter().map(|task| task.id).collect();
    let stored = futures_util::future::join_all(tasks.into_iter().map(|task| enqueuer.enqueue(task))).await;
    assert!(stored.iter().all(Result::is_ok), "{stored:?}");
    let found: Vec<uuid::Uuid> = stage.value("SELECT array_agg(id ORDER BY id) FROM longhaul.ready").await;
    assert_eq!(found, ids);
    assert_eq!(stage.value::<i64>("SELECT count(DISTINCT xmin::text) FROM longhaul.task").await, 1);

    // One that the database refuses costs the others nothing.
    let mut tasks: Vec<_> = (0..3).map(|_| NewTask::new(clock.new_id(), stays(), json!({}))).collect();
    tasks[1].id = ids[0];
    let stored = futures_util::future::join_all(tasks.into_iter().map(|task| enqueuer.enqueue(task))).await;
    assert_eq!(stored.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
}

#[tokio::test]
async fn a_claim_does_not_step_over_what_is_long_gone() {
    let stage = stage().await;
    let old = old_snapshot(&stage).await;
    let worker_id = register(&stage.pool, &worker_info()).await.expect("an id");
    let mut floors = Floors::new(worker_info().queues, None);
    let mut leases = (1..).map(|number| LeaseKey { worker_id, number });
    stage.enqueue(stays(), vec![json!({}); 2_000]).await;
    let lease = leases.next().expect("a lease");
    assert_eq!(claim(&stage.pool, &mut floors, lease, 2_000).await.expect("a claim").len(), 2_000);

    // Now and then a claim looks everywhere, but not each.
    until("a claim that looks at the floor", async || {
        stage.enqueue(stays(), vec![json!({})]).await;
        let mut transaction = stage.pool.begin().await.expect("a transaction");
        let before = entries_read(&mut transaction, "ready_pkey").await;
        let lease = leases.next().expect("a lease");
        assert_eq!(claim(&mut *transaction, &mut floors, lease, 10).await.expect("a claim").len(), 1);
        let read = entries_read(&mut transaction, "ready_pkey").await - before;
        transaction.commit().await.expect("a commit");
        (read < 100).then_some(())
    })
    .await;
    old.rollback().await.expect("an end");
}

#[tokio::test]
async fn what_was_committed_late_is_found_by_the_second_look() {
    let stage = stage().await;
    let worker_id = register(&stage.pool, &worker_info()).await.expect("an id");
    let mut floors = Floors::new(worker_info().queues, None);
    stage.enqueue(stays(), vec![json!({})]).await;
    let lease = LeaseKey { worker_id, number: 0 };
    assert_eq!(claim(&stage.pool, &mut floors, lease, 10).await.expect("a claim").len(), 1);
    let late = DatabaseClock::with_offset(-500).new_id();
    enqueue(&stage.pool, &[NewTask::new(late, stays(), json!({}))]).await.expect("stored");
    let mut looks = 0;
    let found = until("it to be found", async || {
        looks += 1;
        let lease = LeaseKey { worker_id, number: looks };
        let claimed = claim(&stage.pool, &mut floors, lease, 10).await.expect("a claim");
        assert!(!claimed.is_empty() || floors.due().is_some(), "a lane would sleep on");
        claimed.first().map(|task| task.id)
    })
    .await;
    assert_eq!(found, late);
}

#[tokio::test]
async fn an_end_does_not_read_the_leases_that_were() {
    let stage = stage().await;
    sqlx::raw_sql("VACUUM ANALYZE longhaul.lease").execute(&stage.pool).await.expect("a vacuum");
    let old = old_snapshot(&stage).await;
    let engine = engine(&stage);
    let worker_id = register(&engine, &worker_info()).await.expect("an id");
    let mut floors = Floors::new(worker_info().queues, None);
    stage.enqueue(stays(), vec![json!({}); 200]).await;
    for number in 0..200 {
        let lease = LeaseKey { worker_id, number };
        let tasks = claim(&engine, &mut floors, lease, 1).await.expect("a claim");
        let words: Vec<_> = tasks.iter().map(progress_of).collect();
        let ends: Vec<_> = tasks.iter().map(success).collect();
        let leases = LeaseChanges { emptied: vec![number], shortened: vec![] };
        let mut transaction = engine.begin().await.expect("a transaction");
        let before = entries_read(&mut transaction, "lease_pkey").await;
        assert_eq!(flush(&mut *transaction, worker_id, &words).await.expect("a flush").len(), 1);
        let changed = longhaul_model::store::finish::finish(&mut transaction, worker_id, &ends, &leases).await;
        assert_eq!(changed.expect("a finish").len(), 1);
        let read = entries_read(&mut transaction, "lease_pkey").await - before;
        transaction.commit().await.expect("a commit");
        assert!(read < 10, "{read} entries of the index after {number} leases");
    }
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.lease").await, 0);
    old.rollback().await.expect("an end");
}

#[tokio::test]
async fn a_rescue_reads_no_leases_that_those_at_work_had() {
    let stage = stage().await;
    let old = old_snapshot(&stage).await;
    let engine = engine(&stage);
    let mut floors = Floors::new(worker_info().queues, None);
    let mut last = LeaseKey { worker_id: 0, number: 0 };
    for _ in 0..2 {
        let worker_id = register(&engine, &worker_info()).await.expect("an id");
        stage.enqueue(stays(), vec![json!({}); 100]).await;
        for number in 0..100 {
            last = LeaseKey { worker_id, number };
            let tasks = claim(&engine, &mut floors, last, 1).await.expect("a claim");
            let ends: Vec<_> = tasks.iter().map(success).collect();
            let leases = LeaseChanges { emptied: vec![number], shortened: vec![] };
            assert_eq!(finish(&engine, worker_id, &ends, &leases).await.expect("a finish").len(), 1);
        }
    }
    stage.enqueue(stays(), vec![json!({})]).await;
    last.number += 1;
    assert_eq!(claim(&engine, &mut floors, last, 1).await.expect("a claim").len(), 1);

    // What a session has read is added to the server's figures once a second at most.
    let mut read = 0;
    for _ in 0..5 {
        let before = entries_read(&mut engine.acquire().await.expect("a connection"), "lease_pkey").await;
        assert_eq!(rescue(&engine).await.expect("a rescue"), Rescued::default());
        let after = entries_read(&mut engine.acquire().await.expect("a connection"), "lease_pkey").await;
        read = read.max(after - before);
    }
    assert!(read < 10, "{read} entries of the index");

    // Whose worker there is not is nobody's.
    let gone = sqlx::query("DELETE FROM longhaul.worker WHERE id = $1").bind(last.worker_id);
    gone.execute(&stage.pool).await.expect("a deletion");
    assert_eq!(rescue(&engine).await.expect("a rescue").requeued, 1);
    old.rollback().await.expect("an end");
}
