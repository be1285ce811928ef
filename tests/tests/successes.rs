//! How many tasks succeeded is a fact: exact whoever ends, removes, adds up or counts meanwhile, and
//! shown as exact only then.

use std::time::Duration;

use longhaul_model::store::cancel::retry;
use longhaul_model::store::claim::{Floors, claim};
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::failure::sqlstate;
use longhaul_model::store::finish::{AttemptEnd, AttemptOutcome, LeaseChanges, finish};
use longhaul_model::store::retention::{Retention, remove_these};
use longhaul_model::store::successes::{exact, fold, recount, recount_is_due};
use longhaul_model::store::worker::{WorkerInfo, register};
use longhaul_model::store::{ClaimedTask, LeaseKey};
use longhaul_model::{Outcome, Progress, Registry, RunContext, RunError, TaskType, TaskTypeInfo};
use longhaul_tests::{Stage, quick_worker, until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use longhaul_model::problem::ATTEMPT_FAILED;

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Job {
    fails: bool,
}

impl TaskType for Job {
    const NAME: &'static str = "Job";
    const ID_PREFIX: &'static str = "job-";
    const QUEUE: &'static str = "jobs";

    async fn run(self, _: RunContext) -> Result<Outcome, RunError> {
        if self.fails { Err(RunError::permanent(ATTEMPT_FAILED, "as told")) } else { Ok(Outcome::done()) }
    }
}

async fn stage() -> Stage {
    Stage::with_registry(Registry::new().with::<Job>()).await
}

async fn jobs(stage: &Stage, number: usize) {
    stage.enqueue(TaskTypeInfo::of::<Job>(), vec![json!({}); number]).await;
}

async fn all_end(stage: &Stage) {
    until("all tasks to end", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE finished_at IS NULL").await == 0).then_some(())
    })
    .await;
}

/// What is written and what is there, in one snapshot, and whether the first is said to be exact.
async fn both(executor: impl PgExecutor<'_>) -> (i64, i64, bool) {
    sqlx::query_as(
        "SELECT s.tasks, (SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'), s.exact FROM longhaul.succeeded s",
    )
    .fetch_one(executor)
    .await
    .expect("numbers")
}

async fn assert_exactly(stage: &Stage, tasks: i64) {
    assert_eq!(both(&stage.pool).await, (tasks, tasks, true));
}

/// More rows than are left as they are, of which nothing follows.
const MANY_ROWS: &str = "INSERT INTO longhaul.successes (tasks) SELECT CASE WHEN n % 2 = 0 THEN 1 ELSE -1 END FROM generate_series(1, 200) AS n";

async fn rows(stage: &Stage) -> i64 {
    stage.value("SELECT count(*) FROM longhaul.successes").await
}

/// Tasks that a worker by hand has claimed, each under a lease of its own.
async fn claimed(stage: &Stage, number: usize) -> (i32, Vec<ClaimedTask>) {
    jobs(stage, number).await;
    let info = WorkerInfo {
        name: "by hand".to_owned(),
        version: "0".to_owned(),
        queues: vec!["jobs".to_owned()],
        slots: number,
        heartbeat: Duration::from_secs(3_600),
    };
    let worker_id = register(&stage.pool, &info).await.expect("an id");
    let (mut floors, mut tasks) = (Floors::new(info.queues, None), Vec::new());
    for number in 1..=i64::try_from(number).expect("few") {
        let lease = LeaseKey { worker_id, number };
        tasks.extend(claim(&stage.pool, &mut floors, lease, 1).await.expect("a claim"));
    }
    assert_eq!(tasks.len(), number);
    (worker_id, tasks)
}

async fn succeed(connection: &mut PgConnection, worker_id: i32, tasks: &[ClaimedTask], special: bool) {
    let ends: Vec<AttemptEnd> = tasks
        .iter()
        .map(|task| AttemptEnd {
            id: task.id,
            lease_number: task.lease.number,
            attempt: task.attempt,
            elapsed: Duration::from_millis(1),
            progress: Progress::unknown(),
            checkpoint: None,
            verdict: AttemptOutcome::Succeeded(None),
            asked_to_cancel: false,
            special,
        })
        .collect();
    let leases = LeaseChanges { emptied: tasks.iter().map(|task| task.lease.number).collect(), shortened: vec![] };
    assert_eq!(finish(connection, worker_id, &ends, &leases).await.expect("they end").len(), tasks.len());
}

async fn waits_for_a_lock(stage: &Stage, of: &str) {
    until("a statement to wait for a lock", async || {
        let sql = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'";
        let waiting: i64 = sqlx::query_scalar(sql).bind(of).fetch_one(&stage.pool).await.expect("a number");
        (waiting > 0).then_some(())
    })
    .await;
}

async fn text(stage: &Stage, path: &str) -> String {
    let browser = longhaul_tests::http_client().no_proxy().build().expect("a client");
    let response = browser.get(format!("{}{path}", stage.base_url)).send().await.expect("an answer");
    response.text().await.expect("text")
}

#[tokio::test]
async fn successes_are_counted_exactly_whoever_ends_them() {
    let stage = stage().await;
    assert_exactly(&stage, 0).await;
    // Plain ones, with a unique key, with others that wait for them, and in a batch, whose parent
    // the follower ends; some fail.
    stage
        .execute(
            "SELECT longhaul.enqueue('Job') FROM generate_series(1, 60);
         SELECT longhaul.enqueue('Job', unique_key => 'k' || n) FROM generate_series(1, 5) n;
         SELECT longhaul.enqueue_after(ARRAY[longhaul.enqueue('Job')], 'Job') FROM generate_series(1, 5);
         SELECT longhaul.enqueue_batch('Job', ARRAY['{}', '{}', '{}']::jsonb[]) FROM generate_series(1, 5);
         SELECT longhaul.enqueue('Job', '{\"fails\": true}') FROM generate_series(1, 4);
         SELECT longhaul.cancel(right(longhaul.enqueue('Job'), 36)::uuid)",
        )
        .await;
    let worker = stage.worker(quick_worker()).await;
    all_end(&stage).await;
    assert_exactly(&stage, 60 + 5 + 10 + 20).await;
    // A failure that succeeds after all.
    let failed: Uuid = stage.value("SELECT id FROM longhaul.task WHERE state = 'Failed' ORDER BY id LIMIT 1").await;
    stage.execute(format!("UPDATE longhaul.task SET parameters = '{{}}' WHERE id = '{failed}'")).await;
    retry(&stage.pool, failed).await.expect("an answer");
    all_end(&stage).await;
    worker.stop().await;
    assert_exactly(&stage, 96).await;

    for (query, total) in
        [("", 100), ("state=Succeeded&", 96), ("state=Succeeded,Failed&", 99), ("state=Succeeded,Queued&", 96)]
    {
        let (_, list) = stage.get(&format!("/api/tasks?{query}limit=5")).await;
        assert_eq!((&list["Total"], &list["TotalIsExact"]), (&json!(total), &json!(true)), "{query}");
    }
    let (_, of_type) = stage.get("/api/tasks?state=Succeeded&type=Job&limit=5").await;
    assert_eq!(of_type["TotalIsExact"], false, "which types they are of is not known");
    assert_eq!(stage.get("/api/overview").await.1["Succeeded"], 96);
    assert!(text(&stage, "/").await.contains("96 succeeded in all"));
    let page = text(&stage, "/tasks?state=Succeeded").await;
    assert!(page.contains("96 tasks") && !page.contains("about"), "{page}");

    // Some are removed after their time.
    let some: Vec<Uuid> = stage
        .value(
            "SELECT array_agg(id) FROM (SELECT id FROM longhaul.task WHERE state <> 'Failed' ORDER BY id LIMIT 30) t",
        )
        .await;
    let now = Retention { succeeded: Duration::ZERO, cancelled: Duration::ZERO, ..Retention::default() };
    let before = both(&stage.pool).await.1;
    assert_eq!(remove_these(&stage.pool, &now, &some).await.expect("removed"), 30);
    let (written, there, exact) = both(&stage.pool).await;
    assert!(exact && written == there && there < before, "{written}, {there} of {before}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_is_exact_at_every_moment_while_five_workers_end_tasks() {
    let stage = stage().await;
    jobs(&stage, 1_500).await;
    stage.execute("SELECT longhaul.enqueue('Job', unique_key => 'k' || n) FROM generate_series(1, 100) n").await;
    let mut workers = Vec::new();
    for _ in 0..5 {
        workers.push(stage.worker(quick_worker()).await);
    }
    let now = Retention { succeeded: Duration::ZERO, ..Retention::default() };
    let (mut moments, mut removed, mut folded, mut counted) = (0, 0, 0, 0);
    while stage.value::<bool>("SELECT EXISTS (SELECT FROM longhaul.task WHERE finished_at IS NULL)").await {
        let (written, there, exact) = both(&stage.pool).await;
        assert!(exact && written == there, "{written} are written, {there} are there");
        stage.execute(MANY_ROWS).await;
        folded += fold(&stage.pool, 10_000).await.expect("they are added up");
        match recount(&stage.pool).await {
            Ok(done) => counted += i64::from(done),
            Err(error) => assert_eq!(sqlstate(&error).as_deref(), Some("40001"), "{error}"),
        }
        let some: Vec<Uuid> = stage
            .value("SELECT coalesce(array_agg(id), '{}') FROM (SELECT id FROM longhaul.task WHERE state = 'Succeeded' LIMIT 20) t")
            .await;
        removed += remove_these(&stage.pool, &now, &some).await.expect("removed");
        moments += 1;
    }
    for worker in workers {
        worker.stop().await;
    }
    println!("{moments} moments, {folded} rows added up, counted {counted} times, {removed} removed");
    assert_exactly(&stage, 1_600 - removed).await;
}

#[tokio::test]
async fn what_ends_during_a_count_is_neither_lost_nor_counted_twice() {
    let stage = stage().await;
    let (worker_id, tasks) = claimed(&stage, 8).await;
    let mut connection = stage.pool.acquire().await.expect("a connection");
    succeed(&mut connection, worker_id, &tasks[..2], false).await;
    // Before the count, and not committed until it is over.
    let mut open = stage.pool.begin().await.expect("a transaction");
    succeed(&mut open, worker_id, &tasks[2..4], true).await;
    // The count waits for a row of its snapshot.
    let mut holder = stage.pool.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM longhaul.successes FOR UPDATE").execute(&mut *holder).await.expect("its rows");
    let counting = tokio::spawn({
        let pool = stage.pool.clone();
        async move { recount(&pool).await }
    });
    waits_for_a_lock(&stage, "DELETE FROM longhaul.successes").await;
    let other = tasks[4..7].to_vec();
    succeed(&mut connection, worker_id, &other, false).await;
    holder.rollback().await.expect("an end");
    assert!(counting.await.expect("it ends").expect("it counts"));
    assert_exactly(&stage, 5).await;
    open.commit().await.expect("a commit");
    assert_exactly(&stage, 7).await;
    succeed(&mut connection, worker_id, &tasks[7..], false).await;
    assert_exactly(&stage, 8).await;
}

#[tokio::test]
async fn a_count_whose_rows_were_added_up_meanwhile_changes_nothing_and_is_made_again() {
    let stage = stage().await;
    let (worker_id, tasks) = claimed(&stage, 3).await;
    let mut connection = stage.pool.acquire().await.expect("a connection");
    succeed(&mut connection, worker_id, &tasks, false).await;
    stage.execute(MANY_ROWS).await;
    let mut adding = stage.pool.begin().await.expect("a transaction");
    assert!(fold(&mut *adding, 10_000).await.expect("they are added up") > 200);
    let counting = tokio::spawn({
        let pool = stage.pool.clone();
        async move { recount(&pool).await }
    });
    waits_for_a_lock(&stage, "DELETE FROM longhaul.successes").await;
    adding.commit().await.expect("a commit");
    let refused = counting.await.expect("it ends").expect_err("it can't know what became of its rows");
    assert_eq!(sqlstate(&refused).as_deref(), Some("40001"), "{refused}");
    assert_exactly(&stage, 3).await;
    assert_eq!(rows(&stage).await, 1);
    assert!(recount(&stage.pool).await.expect("it counts"));
    assert_exactly(&stage, 3).await;
}

#[tokio::test]
async fn rows_that_two_add_up_at_once_count_once() {
    let stage = stage().await;
    let (worker_id, tasks) = claimed(&stage, 2).await;
    let mut connection = stage.pool.acquire().await.expect("a connection");
    succeed(&mut connection, worker_id, &tasks, false).await;
    stage.execute(MANY_ROWS).await;
    let mut first = stage.pool.begin().await.expect("a transaction");
    let folded = fold(&mut *first, 10_000).await.expect("they are added up");
    let second = tokio::spawn({
        let pool = stage.pool.clone();
        async move { fold(&pool, 10_000).await }
    });
    waits_for_a_lock(&stage, "DELETE FROM longhaul.successes").await;
    first.commit().await.expect("a commit");
    assert_eq!((folded, second.await.expect("it ends").expect("an answer")), (202, 0));
    assert_eq!(rows(&stage).await, 1);
    assert_exactly(&stage, 2).await;
    assert_eq!(fold(&stage.pool, 10_000).await.expect("an answer"), 0, "few rows stay as they are");
}

#[tokio::test]
async fn a_worker_counts_anew_after_a_day_and_keeps_the_rows_few() {
    let stage = stage().await;
    stage.execute(MANY_ROWS).await;
    // A defect of yesterday.
    stage
        .execute(
            "UPDATE longhaul.successes SET counted_at = counted_at - interval '25 hours' WHERE counted_at IS NOT NULL;
         INSERT INTO longhaul.successes (tasks) VALUES (7)",
        )
        .await;
    assert_eq!(both(&stage.pool).await, (7, 0, true));
    let worker = stage.worker(quick_worker()).await;
    until("the number to be mended", async || (both(&stage.pool).await == (0, 0, true)).then_some(())).await;
    assert!(rows(&stage).await < 10);
    jobs(&stage, 3).await;
    all_end(&stage).await;
    worker.stop().await;
    assert_exactly(&stage, 3).await;
}

/// Its statements as they are, which write nothing down.
#[tokio::test]
async fn beside_workers_of_an_earlier_release_the_number_is_an_estimate() {
    let stage = stage().await;
    jobs(&stage, 60).await;
    let worker = stage.worker(quick_worker()).await;
    all_end(&stage).await;
    worker.stop().await;
    assert_eq!(exact(&stage.pool).await.expect("an answer"), Some(60));
    let shown = async || {
        let (_, list) = stage.get("/api/tasks?state=Succeeded&limit=5").await;
        let (_, overview) = stage.get("/api/overview").await;
        (list["TotalIsExact"].clone(), overview["Succeeded"].clone())
    };
    assert_eq!(shown().await, (json!(true), json!(60)));
    let old: i32 = stage
        .value(
            "INSERT INTO longhaul.worker (name, version, queues, slots, heartbeat_ms)
             VALUES ('of an earlier release', '0', '{jobs}', 1, 3600000) RETURNING id",
        )
        .await;
    assert_eq!(shown().await, (json!(false), Value::Null), "from the moment that it is there");
    jobs(&stage, 1).await;
    stage
        .execute(
            "DELETE FROM longhaul.ready;
         UPDATE longhaul.task SET state = 'Succeeded', attempt = 1, fraction = 1, finished_at = now() WHERE finished_at IS NULL",
        )
        .await;
    let due = async || recount_is_due(&stage.pool).await.expect("an answer");
    let count = async || recount(&stage.pool).await.expect("an answer");
    let hindered = async |change: &str| {
        stage.execute(change).await;
        assert!(!due().await && !count().await, "{change}");
        assert_eq!(shown().await, (json!(false), Value::Null), "{change}");
    };
    hindered("SELECT").await;
    // It is gone, but its last statement may not be.
    hindered("UPDATE longhaul.worker SET lost_at = clock_timestamp() WHERE NOT counts_successes").await;
    // Its statements are over, but not its lease: it may not know yet that it was presumed dead.
    hindered(
        "UPDATE longhaul.successes SET counted_at = counted_at - interval '10 minutes';
         UPDATE longhaul.worker SET lost_at = now() - interval '3 minutes' WHERE NOT counts_successes;
         INSERT INTO longhaul.lease (worker_id, number, task_ids) SELECT id, 1, ARRAY[longhaul.new_id()] FROM longhaul.worker WHERE NOT counts_successes",
    )
    .await;
    stage.execute(format!("DELETE FROM longhaul.lease WHERE worker_id = {old}")).await;
    assert!(due().await);
    assert_eq!(shown().await, (json!(false), Value::Null), "until it was counted");
    // Whichever worker keeps the books.
    let worker = stage.worker(quick_worker()).await;
    until("the tasks to be counted", async || (shown().await == (json!(true), json!(61))).then_some(())).await;
    worker.stop().await;
    assert!(!due().await);
}

/// Every end of a program is counted, so one that is not is a contradiction.
#[tokio::test]
async fn a_wrong_number_is_a_contradiction_of_no_one_task() {
    let stage = stage().await;
    stage.execute("INSERT INTO longhaul.successes (tasks) VALUES (2)").await;
    let told = longhaul_model::store::repair::contradictions(&stage.pool, 5).await.expect("a look");
    assert!(
        matches!(&told[..], [one] if one.id.is_nil() && one.problem == "0 tasks succeeded, and 2 are counted"),
        "{told:?}"
    );
    assert!(recount(&stage.pool).await.expect("it counts"));
    assert_exactly(&stage, 0).await;
}

#[tokio::test]
async fn the_number_of_all_tasks_is_exact_as_long_as_few_are_open() {
    let stage = stage().await;
    jobs(&stage, 70).await;
    let worker = stage.worker(quick_worker()).await;
    all_end(&stage).await;
    worker.stop().await;
    // Open in each way that there is.
    stage
        .execute(
            "SELECT longhaul.enqueue('Job', run_at => now() + interval '1 hour');
         SELECT longhaul.enqueue_after(ARRAY[longhaul.enqueue('Job')], 'Job');
         SELECT longhaul.enqueue_batch('Job', ARRAY['{}', '{}']::jsonb[])",
        )
        .await;
    let all = async || {
        let (_, list) = stage.get("/api/tasks?limit=5").await;
        (list["Total"].clone(), list["TotalIsExact"].clone())
    };
    assert_eq!(all().await, (json!(76), json!(true)));
    stage.strands_tasks();
    stage
        .execute(
            "WITH stored AS (
             INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, state)
             SELECT longhaul.new_id(), 'Job', 'jobs', 5, 3, 'Queued' FROM generate_series(1, 20500) RETURNING id)
         INSERT INTO longhaul.ready (queue, priority, id) SELECT 'jobs', 5, id FROM stored",
        )
        .await;
    assert_eq!(all().await.1, json!(false));
    let clock = stage.clock().await;
    enqueue(&stage.pool, &[NewTask::of(clock.new_id(), &Job::default()).expect("JSON")]).await.expect("stored");
    let (_, list) = stage.get("/api/tasks?state=Succeeded&limit=5").await;
    assert_eq!((&list["Total"], &list["TotalIsExact"]), (&json!(70), &json!(true)));
}
