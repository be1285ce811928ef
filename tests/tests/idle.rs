//! Idle locks: who stores tasks notifies only where somebody sleeps, and nobody sleeps through
//! a task (docs/adr/0010-idle-locks.md). Workers here do not poll.

use std::time::Duration;

use longhaul_model::store::bulk::enqueue_many;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::{Outcome, Registry, RunContext, RunError, TaskOptions, TaskType, TaskTypeInfo};
use longhaul_tests::{RunningWorker, Stage, mortal_worker, quick_worker, until};
use longhaul_worker::Settings;
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgListener};

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

async fn stage() -> Stage {
    Stage::with_registry(Registry::new().with::<Nothing>()).await
}

fn without_polls(settings: Settings) -> Settings {
    Settings { poll_every: Duration::from_secs(3_600), ..settings }
}

async fn task(stage: &Stage) -> NewTask {
    NewTask::new(stage.clock().await.new_id(), TaskTypeInfo::of::<Nothing>(), json!({}))
}

/// Whether a session holds the idle lock of the queue.
async fn somebody_sleeps(stage: &Stage) -> bool {
    stage
        .value(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted
                               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                               AND (classid::bigint << 32 | objid::bigint) = hashtextextended('longhaul.idle:default', 0))",
        )
        .await
}

async fn falls_asleep(stage: &Stage) {
    until("a worker to fall asleep", async || somebody_sleeps(stage).await.then_some(())).await;
}

async fn all_end(stage: &Stage) {
    until("all tasks to end", async || {
        let open = "SELECT count(*) FROM longhaul.task WHERE state <> 'Succeeded'";
        (stage.value::<i64>(open).await == 0).then_some(())
    })
    .await;
}

async fn sleeping_worker(stage: &Stage, settings: Settings) -> RunningWorker {
    let worker = stage.worker(without_polls(settings)).await;
    falls_asleep(stage).await;
    worker
}

/// Stores tasks in every way that there is.
async fn store(stage: &Stage) -> usize {
    enqueue(&stage.pool, &[task(stage).await]).await.expect("one");
    enqueue(&stage.pool, &[task(stage).await, task(stage).await]).await.expect("two");
    let tagged = TaskOptions { tags: vec!["red".to_owned()], ..TaskOptions::default() };
    enqueue(&stage.pool, &[NewTask { options: tagged, ..task(stage).await }]).await.expect("one with options");
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    enqueue_many(&mut transaction, [task(stage).await]).await.expect("many");
    transaction.commit().await.expect("a commit");
    let _id: String = stage.value("SELECT longhaul.enqueue('Nothing')").await;
    stage.start(&json!({"Type": "Nothing"})).await;
    6
}

#[tokio::test]
async fn whoever_stores_a_task_notifies_only_where_somebody_sleeps() {
    let stage = stage().await;
    let mut listener = PgListener::connect(stage.database_url()).await.expect("a connection");
    listener.listen("longhaul_ready").await.expect("it listens");
    store(&stage).await;
    let _sent: String = stage.value("SELECT pg_notify('longhaul_ready', 'nobody was told')::text").await;
    assert_eq!(listener.recv().await.expect("a notification").payload(), "nobody was told");

    let mut sleeper = stage.pool.acquire().await.expect("a connection");
    sqlx::query("SELECT pg_advisory_lock(hashtextextended('longhaul.idle:default', 0))")
        .execute(&mut *sleeper)
        .await
        .expect("it");
    for _ in 0..store(&stage).await {
        assert_eq!(listener.recv().await.expect("a notification").payload(), "default");
    }
    sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut *sleeper).await.expect("it");
}

#[tokio::test]
async fn a_transaction_that_was_open_before_its_worker_fell_asleep_is_not_slept_through() {
    let stage = stage().await;
    let mut open = stage.pool.begin().await.expect("a transaction");
    enqueue(&mut *open, &[task(&stage).await]).await.expect("stored");
    // Later tasks have ids that are greater.
    enqueue(&stage.pool, &[task(&stage).await]).await.expect("stored");
    let worker = stage.worker(without_polls(quick_worker())).await;
    until("the worker to want to sleep", async || {
        let waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND NOT granted)";
        stage.value::<bool>(waiting).await.then_some(())
    })
    .await;
    assert!(!somebody_sleeps(&stage).await);
    // Longer than it waits at once, and longer than a claim looks back.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(!somebody_sleeps(&stage).await);
    open.commit().await.expect("a commit");
    all_end(&stage).await;
    falls_asleep(&stage).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_sleeps_is_told_at_the_commit() {
    let stage = stage().await;
    let worker = sleeping_worker(&stage, quick_worker()).await;
    let mut open = stage.pool.begin().await.expect("a transaction");
    enqueue(&mut *open, &[task(&stage).await]).await.expect("stored");
    tokio::time::sleep(Duration::from_millis(300)).await;
    open.commit().await.expect("a commit");
    all_end(&stage).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_task_whose_id_is_older_than_what_ran_meanwhile_is_found_at_its_commit() {
    let stage = stage().await;
    let worker = sleeping_worker(&stage, quick_worker()).await;
    let mut open = stage.pool.begin().await.expect("a transaction");
    enqueue(&mut *open, &[task(&stage).await]).await.expect("stored");
    // Claims begin to look where the last ones ended, and further back than this only once in a
    // while.
    for _ in 0..12 {
        enqueue(&stage.pool, &[task(&stage).await]).await.expect("stored");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    all_end(&stage).await;
    open.commit().await.expect("a commit");
    all_end(&stage).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_relied_on_a_lock_looks_for_itself_once_that_is_given_back() {
    let stage = stage().await;
    let mut other = stage.pool.acquire().await.expect("a connection");
    let lock = "SELECT pg_advisory_lock(hashtextextended('longhaul.idle:default', 0))";
    sqlx::query(lock).execute(&mut *other).await.expect("locked");
    let worker = stage.worker(without_polls(quick_worker())).await;
    enqueue(&stage.pool, &[task(&stage).await]).await.expect("stored");
    all_end(&stage).await;
    // It sleeps as soon as it has looked.
    tokio::time::sleep(Duration::from_millis(500)).await;
    sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut *other).await.expect("unlocked");
    let mut open = stage.pool.begin().await.expect("a transaction");
    enqueue(&mut *open, &[task(&stage).await]).await.expect("stored");
    enqueue(&stage.pool, &[task(&stage).await]).await.expect("stored");
    let _sent: String = stage.value("SELECT pg_notify('longhaul_idle', 'default')::text").await;
    // The transaction that is still open keeps it from its locks, not from looking.
    all_end(&stage).await;
    open.commit().await.expect("a commit");
    all_end(&stage).await;
    worker.stop().await;
}

#[tokio::test]
async fn who_relied_on_another_workers_lock_takes_it_over() {
    let stage = stage().await;
    for killed in [false, true] {
        let first = sleeping_worker(&stage, mortal_worker()).await;
        let second = stage.worker(without_polls(quick_worker())).await;
        // The second one sleeps as soon as it has looked.
        tokio::time::sleep(Duration::from_millis(300)).await;
        if killed {
            first.kill().await
        } else {
            first.stop().await
        }
        falls_asleep(&stage).await;
        enqueue(&stage.pool, &[task(&stage).await]).await.expect("stored");
        all_end(&stage).await;
        second.stop().await;
        assert!(!somebody_sleeps(&stage).await);
    }
}

#[tokio::test]
async fn a_worker_whose_connections_are_ended_sleeps_again() {
    let stage = stage().await;
    let worker = sleeping_worker(&stage, quick_worker()).await;
    for _ in 0..2 {
        let ended: i64 = stage
            .value(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()
                    AND (query LIKE 'LISTEN%' OR pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'))",
            )
            .await;
        assert!(ended > 0);
        until("the lock to be free", async || (!somebody_sleeps(&stage).await).then_some(())).await;
        falls_asleep(&stage).await;
        enqueue(&stage.pool, &[task(&stage).await]).await.expect("stored");
        all_end(&stage).await;
    }
    worker.stop().await;
}

/// A task that is slept through waits for the next one, so every round waits for all of its tasks.
#[tokio::test]
async fn no_task_is_slept_through_however_tasks_and_naps_meet() {
    let stage = stage().await;
    let workers = [
        stage.worker(without_polls(Settings { slots: 2, ..quick_worker() })).await,
        stage.worker(without_polls(quick_worker())).await,
    ];
    let mut random = rand::rng();
    for _ in 0..60 {
        let stores = (0..random.random_range(1..=5)).map(|_| {
            let (before, open): (u64, u64) = (random.random_range(0..25), random.random_range(0..15));
            let count = random.random_range(1..=12);
            let stage = &stage;
            async move {
                tokio::time::sleep(Duration::from_millis(before)).await;
                for _ in 0..count {
                    let mut transaction = stage.pool.begin().await.expect("a transaction");
                    enqueue(&mut *transaction, &[task(stage).await]).await.expect("stored");
                    if open > 8 {
                        tokio::time::sleep(Duration::from_millis(open)).await;
                    }
                    transaction.commit().await.expect("a commit");
                }
            }
        });
        futures_util::future::join_all(stores).await;
        all_end(&stage).await;
    }
    for worker in workers {
        worker.stop().await;
    }
}

/// A restart of the server, or an administrator, cuts all connections of a worker, those that hold
/// its idle locks, too: nobody notifies it then, so it must not rest before it holds them again.
#[tokio::test]
async fn a_worker_whose_connections_were_cut_does_not_rest_without_its_locks() {
    let stage = stage().await;
    let login: PgConnectOptions = stage.logins().worker.parse().expect("an address");
    let worker = sleeping_worker(&stage, quick_worker()).await;
    for _ in 0..3 {
        falls_asleep(&stage).await;
        let cut: i64 = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
              WHERE usename = $1 AND datname = current_database()",
        )
        .bind(login.get_username())
        .fetch_one(&stage.pool)
        .await
        .expect("cut");
        assert!(cut >= 2, "a connection that listens, and one for the locks");
        until("the locks to be gone", async || (!somebody_sleeps(&stage).await).then_some(())).await;
        // The lanes, which lost their connections, too, look once more.
        tokio::time::sleep(Duration::from_millis(300)).await;
        enqueue(&stage.pool, &[task(&stage).await]).await.expect("stored");
        all_end(&stage).await;
    }
    // It asks every five seconds whether it still has its locks.
    let slowest: f64 =
        stage.value("SELECT max(extract(epoch FROM finished_at - accepted_at))::float8 FROM longhaul.task").await;
    assert!(slowest < 3.0, "{slowest} s");
    worker.stop().await;
}
