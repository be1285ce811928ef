//! Outages of the database, deaths of workers, and what is not the task's fault.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use longhaul_devdb::{Options, Server};
use longhaul_model::store::claim::{Floors, claim};
use longhaul_model::store::progress::{Details, ProgressWrite, flush};
use longhaul_model::store::rescue::rescue;
use longhaul_model::store::retention::{Retention, prune};
use longhaul_model::store::trouble;
use longhaul_model::store::worker::{WorkerInfo, register};
use longhaul_model::store::{ClaimedTask, LeaseKey};
use longhaul_model::{Outcome, Progress, Registry, RetryPolicy, RunContext, RunError, TaskType, TaskTypeInfo};
use longhaul_tests::{Stage, mortal_worker, quick_worker, signal_server, until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

/// How often the handler of each `Long` task was started, in this process.
static STARTS: LazyLock<Mutex<HashMap<Uuid, usize>>> = LazyLock::new(Mutex::default);
static LONG_MAY_END: AtomicBool = AtomicBool::new(false);

/// Runs until the test lets it end, without the database.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Long {}

impl TaskType for Long {
    const NAME: &'static str = "Long";
    const ID_PREFIX: &'static str = "long-";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        *STARTS.lock().expect("a lock").entry(context.task_id()).or_default() += 1;
        while !LONG_MAY_END.load(Ordering::Relaxed) {
            tokio::select! {
                () = context.cancellation().cancelled() => return Ok(Outcome::Cancelled),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
        Ok(Outcome::done())
    }
}

/// Writes to the database.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Short {}

impl TaskType for Short {
    const NAME: &'static str = "Short";
    const ID_PREFIX: &'static str = "short-";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        sqlx::query("INSERT INTO note (task) VALUES ($1)").bind(context.task_id()).execute(context.pool()).await?;
        Ok(Outcome::done())
    }
}

/// Has one attempt.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Once {}

impl TaskType for Once {
    const NAME: &'static str = "Once";
    const ID_PREFIX: &'static str = "once-";
    const RETRY: RetryPolicy =
        RetryPolicy { max_attempts: 1, first_delay: Duration::from_millis(1), max_delay: Duration::from_millis(1) };

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

/// Meets an error of the database until the given run.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Interrupted {
    how: String,
    until_run: i64,
}

/// What a handler makes of an error of the database.
#[derive(Debug)]
struct Bookkeeping(sqlx::Error);

impl std::fmt::Display for Bookkeeping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the books can't be kept")
    }
}

impl std::error::Error for Bookkeeping {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl TaskType for Interrupted {
    const NAME: &'static str = "Interrupted";
    const ID_PREFIX: &'static str = "interrupted-";
    const RETRY: RetryPolicy =
        RetryPolicy { max_attempts: 2, first_delay: Duration::from_millis(1), max_delay: Duration::from_millis(1) };

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let run: i64 = sqlx::query_scalar(
            "WITH noted AS (INSERT INTO note (task) VALUES ($1)) SELECT count(*) + 1 FROM note WHERE task = $1",
        )
        .bind(context.task_id())
        .fetch_one(context.pool())
        .await?;
        if run < self.until_run {
            match self.how.as_str() {
                "a wait for one's own pool" => Err(Bookkeeping(sqlx::Error::PoolTimedOut))?,
                sqlstate => {
                    let raise = format!("DO $$ BEGIN RAISE EXCEPTION 'as told' USING ERRCODE = '{sqlstate}'; END $$");
                    sqlx::raw_sql(sqlx::AssertSqlSafe(raise)).execute(context.pool()).await?;
                }
            }
        }
        Outcome::with_result(json!({"attempt": context.attempt()}))
    }
}

/// Adds one to what all of them add to.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Add {}

impl TaskType for Add {
    const NAME: &'static str = "Add";
    const ID_PREFIX: &'static str = "add-";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let mut transaction = context.pool().begin().await?;
        let sum: i64 = sqlx::query_scalar("SELECT sum FROM total").fetch_one(&mut *transaction).await?;
        sqlx::query("UPDATE total SET sum = $1").bind(sum + 1).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Outcome::done())
    }
}

fn registry() -> Registry {
    Registry::new().with::<Long>().with::<Short>().with::<Once>().with::<Interrupted>().with::<Add>()
}

fn info_of(name: &str) -> TaskTypeInfo {
    *registry().get(name).expect("a registered type").info()
}

/// A worker that only the test moves, with a heartbeat of 200 ms.
async fn hand(stage: &Stage) -> i32 {
    let info = WorkerInfo {
        name: "hand".to_owned(),
        version: "0".to_owned(),
        queues: vec!["default".to_owned()],
        slots: 8,
        heartbeat: Duration::from_millis(200),
    };
    register(&stage.pool, &info).await.expect("an id")
}

async fn take(stage: &Stage, worker_id: i32, number: i64, limit: usize) -> Vec<ClaimedTask> {
    let mut floors = Floors::new(vec!["default".to_owned()], None);
    claim(&stage.pool, &mut floors, LeaseKey { worker_id, number }, limit).await.expect("a claim")
}

/// Stores that the attempt has begun.
async fn begin(stage: &Stage, task: &ClaimedTask) {
    let write = ProgressWrite {
        id: task.id,
        lease_number: task.lease.number,
        attempt: task.attempt,
        elapsed: Duration::ZERO,
        progress: Progress::of(1, 2),
        checkpoint: None,
        details: Details::default(),
    };
    assert_eq!(flush(&stage.pool, task.lease.worker_id, &[write]).await.expect("a flush"), [task.id]);
}

async fn is_presumed_dead(stage: &Stage, worker_id: i32) {
    until("the worker to be presumed dead", async || {
        rescue(&stage.pool).await.expect("a rescue").workers.contains(&worker_id).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_dead_worker_had_not_begun_goes_back_as_it_was() {
    let stage = Stage::with_registry(registry()).await;
    let ids = stage.enqueue(info_of("Once"), vec![json!({}); 3]).await;
    let dead = hand(&stage).await;
    let tasks = take(&stage, dead, 1, 3).await;
    begin(&stage, &tasks[0]).await;
    is_presumed_dead(&stage, dead).await;
    let rows: Vec<(Uuid, String, i16, i16)> =
        sqlx::query_as("SELECT id, state::text, attempt, crashes FROM longhaul.task ORDER BY id")
            .fetch_all(&stage.pool)
            .await
            .expect("rows");
    let expected =
        [(ids[0], "Failed".to_owned(), 1, 1), (ids[1], "Queued".to_owned(), 0, 1), (ids[2], "Queued".to_owned(), 0, 1)];
    assert_eq!(rows, expected, "only what had begun has spent its attempt");
    let failed: Vec<Uuid> =
        sqlx::query_scalar("SELECT task_id FROM longhaul.attempt_error").fetch_all(&stage.pool).await.expect("ids");
    assert_eq!(failed, [ids[0]]);
    let again = take(&stage, hand(&stage).await, 1, 3).await;
    assert!(again.iter().all(|task| task.attempt == 1 && task.crashes == 1), "suspect: {again:?}");
}

#[tokio::test]
async fn silence_counts_only_while_someone_was_there_to_hear() {
    let stage = Stage::with_registry(registry()).await;
    let quiet = hand(&stage).await;
    // Everyone was away, or the server was: nothing is known of the time before.
    sqlx::raw_sql(
        "UPDATE longhaul.worker SET heartbeat_at = clock_timestamp() - interval '14 s';
         UPDATE longhaul.observation SET gaps = '{}', looked_at = clock_timestamp() - interval '14 s'",
    )
    .execute(&stage.pool)
    .await
    .expect("an outage");
    assert_eq!(rescue(&stage.pool).await.expect("a rescue").workers, [0; 0]);
    assert_eq!(stage.value::<String>("SELECT state FROM longhaul.workers").await, "alive");
    is_presumed_dead(&stage, quiet).await;
    let patience: f64 = stage
        .value("SELECT extract(epoch FROM lost_at - upper(gaps))::float8 FROM longhaul.worker, longhaul.observation")
        .await;
    assert!(patience >= 0.2 * 1.7, "{patience} s after someone began to listen");
}

#[tokio::test]
async fn a_session_of_a_dead_worker_keeps_no_batch_from_others() {
    let stage = Stage::with_registry(registry()).await;
    let ids = stage.enqueue(info_of("Short"), vec![json!({}); 4]).await;
    let dead = hand(&stage).await;
    let tasks = take(&stage, dead, 1, 4).await;
    begin(&stage, &tasks[0]).await;
    // The open transaction of a handler whose machine has frozen.
    let mut session = PgConnection::connect(&stage.logins().worker).await.expect("a session");
    let mut transaction = session.begin().await.expect("a transaction");
    for lock in
        ["SELECT FROM longhaul.lease FOR KEY SHARE", "SELECT FROM longhaul.task ORDER BY id LIMIT 1 FOR NO KEY UPDATE"]
    {
        sqlx::query(lock).execute(&mut *transaction).await.expect(lock);
    }
    let other =
        stage.worker(longhaul_worker::Settings { slots: 0, queues: vec!["none".to_owned()], ..mortal_worker() }).await;
    let ready = until("the batch to be back", async || {
        let ready: Vec<Uuid> =
            sqlx::query_scalar("SELECT id FROM longhaul.ready ORDER BY id").fetch_all(&stage.pool).await.expect("ids");
        (!ready.is_empty()).then_some(ready)
    })
    .await;
    assert_eq!(ready, ids, "all of it, also what the session had locked");
    let late: f64 = stage
        .value("SELECT extract(epoch FROM clock_timestamp() - lost_at)::float8 FROM longhaul.worker WHERE lost_at IS NOT NULL")
        .await;
    println!("the batch was back {late:.2} s after its worker was presumed dead");
    let two_heartbeats = longhaul_worker::Settings::default().heartbeat * 2;
    assert!(late < two_heartbeats.as_secs_f64(), "{late} s: not when the session is ended for idleness, after 60 s");
    assert!(sqlx::query("SELECT 1").execute(&mut *transaction).await.is_err(), "the session is over");
    other.stop().await;
}

#[tokio::test]
async fn a_session_that_can_not_be_ended_keeps_one_batch_and_no_other() {
    let stage = Stage::with_registry(registry()).await;
    let ids = stage.enqueue(info_of("Short"), vec![json!({}); 2]).await;
    let dead = hand(&stage).await;
    take(&stage, dead, 1, 1).await;
    take(&stage, dead, 2, 1).await;
    // An administrator's: the worker's login may not end it.
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM longhaul.lease WHERE number = 1 FOR KEY SHARE")
        .execute(&mut *transaction)
        .await
        .expect("a lock");
    let other =
        stage.worker(longhaul_worker::Settings { slots: 0, queues: vec!["none".to_owned()], ..mortal_worker() }).await;
    let ready = async || {
        sqlx::query_scalar::<_, Uuid>("SELECT id FROM longhaul.ready ORDER BY id")
            .fetch_all(&stage.pool)
            .await
            .expect("ids")
    };
    until("the other batch to be back", async || (ready().await == [ids[1]]).then_some(())).await;
    transaction.rollback().await.expect("the lock goes");
    until("both to be back", async || (ready().await == ids).then_some(())).await;
    other.stop().await;
}

/// With a table for what handlers write down.
async fn stage_with_notes() -> Stage {
    let stage = Stage::with_registry(registry()).await;
    sqlx::raw_sql("CREATE TABLE note (task uuid); CREATE TABLE total (sum bigint); INSERT INTO total VALUES (0)")
        .execute(&stage.pool)
        .await
        .expect("tables");
    stage
}

async fn spent(stage: &Stage) -> (i64, i64) {
    let attempts = stage.value("SELECT coalesce(sum(attempt), 0) FROM longhaul.task").await;
    (attempts, stage.value("SELECT count(*) FROM longhaul.attempt_error").await)
}

#[tokio::test]
async fn an_attempt_that_the_database_interrupts_is_made_again_and_not_spent() {
    let stage = stage_with_notes().await;
    let worker = stage.worker(quick_worker()).await;
    for how in ["40001", "40P01", "57P01", "a wait for one's own pool"] {
        let started = stage.start(&json!({"Type": "Interrupted", "Parameters": {"how": how, "until_run": 3}})).await;
        let ended = stage.ended(&started).await;
        assert_eq!((&ended["State"], &ended["Result"]["attempt"]), (&json!("Succeeded"), &json!(1)), "{how}: {ended}");
    }
    assert_eq!(spent(&stage).await, (4, 0));
    // An error of data is the handler's own.
    let started = stage.start(&json!({"Type": "Interrupted", "Parameters": {"how": "23505", "until_run": 2}})).await;
    assert_eq!(stage.ended(&started).await["Result"]["attempt"], 2);
    assert_eq!(spent(&stage).await, (6, 1));
    worker.stop().await;
}

#[tokio::test]
async fn what_the_database_interrupts_for_ever_fails_in_the_end() {
    let stage = stage_with_notes().await;
    let worker = stage.worker(quick_worker()).await;
    let started = stage.start(&json!({"Type": "Interrupted", "Parameters": {"how": "40001", "until_run": 9}})).await;
    // As after so many of them, for each of the two attempts.
    for attempt in [0_i16, 1] {
        until("an interruption", async || {
            sqlx::query("UPDATE longhaul.task SET interruptions = 10 WHERE interruptions = 1 AND attempt = $1")
                .bind(attempt)
                .execute(&stage.pool)
                .await
                .is_ok_and(|done| done.rows_affected() == 1)
                .then_some(())
        })
        .await;
    }
    let ended = stage.ended(&started).await;
    assert_eq!((&ended["State"], &ended["Attempt"]), (&json!("Failed"), &json!(2)), "{ended}");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM note").await, 4, "two runs of each attempt");
    let cause: String = stage.value("SELECT error ->> 'cause' FROM longhaul.attempt_error LIMIT 1").await;
    assert!(cause.contains("as told"), "{cause}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serializable_by_default_spends_no_attempt() {
    let stage = stage_with_notes().await;
    let database: String = stage.value("SELECT current_database()::text").await;
    let sql = format!("ALTER DATABASE \"{database}\" SET default_transaction_isolation = serializable");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&stage.pool).await.expect("a setting");
    let worker = stage.worker(longhaul_worker::Settings { slots: 4, ..quick_worker() }).await;
    stage.enqueue(info_of("Add"), vec![json!({}); 60]).await;
    until("all to have succeeded", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'").await == 60).then_some(())
    })
    .await;
    assert_eq!(stage.value::<i64>("SELECT sum FROM total").await, 60);
    assert_eq!(spent(&stage).await, (60, 0));
    worker.stop().await;
}

#[tokio::test]
async fn what_troubled_workers_that_are_gone_is_forgotten() {
    let stage = Stage::with_registry(registry()).await;
    let (gone, alive) = (hand(&stage).await, hand(&stage).await);
    for worker_id in [gone, alive] {
        trouble::note(&stage.pool, worker_id, "promoter", 3, "as told").await.expect("a note");
    }
    longhaul_model::store::worker::stop(&stage.pool, gone).await.expect("a stop");
    assert_eq!(trouble::list(&stage.pool).await.expect("troubles").len(), 1, "only those at work count");
    prune(&stage.pool, &Retention::default()).await.expect("a pruning");
    assert_eq!(stage.value::<i32>("SELECT worker_id FROM longhaul.trouble").await, alive);
    trouble::is_over(&stage.pool, alive, "promoter").await.expect("an end");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.trouble").await, 0);
}

/// A server of its own, and a stage on it.
async fn on_a_server_of_its_own() -> (Server, Stage) {
    let server = Server::start(Options::temporary()).await.expect("a server");
    server.ensure_database("outage").await.expect("a database");
    let stage = Stage::builder(registry()).database(&server.url("outage")).start().await;
    sqlx::raw_sql("CREATE TABLE note (task uuid)").execute(&stage.pool).await.expect("a table");
    (server, stage)
}

async fn outage(server: &mut Server, length: Duration) -> Instant {
    server.halt_immediate().await.expect("an outage");
    // The outage itself, not a wait for anything.
    tokio::time::sleep(length).await;
    server.resume().await.expect("a start");
    Instant::now()
}

const HEARTBEAT: Duration = Duration::from_secs(1);
const LONG_TASKS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_outages_under_load_cost_no_attempt_and_start_no_handler_anew() {
    let (mut server, stage) = on_a_server_of_its_own().await;
    let settings = longhaul_worker::Settings { heartbeat: HEARTBEAT, ..mortal_worker() };
    let workers = [stage.worker(settings.clone()).await, stage.worker(settings).await];
    let long = stage.enqueue(info_of("Long"), vec![json!({}); LONG_TASKS]).await;
    until("the long tasks to run", async || (STARTS.lock().expect("a lock").len() == LONG_TASKS).then_some(())).await;

    // Clients that never rest, and when the last of them was answered by 202.
    let (accepted, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let last_accepted = Mutex::new(Instant::now());
    let clients = async {
        while !stop.load(Ordering::Relaxed) {
            let status = stage.post(&json!({"Type": "Short", "Parameters": {}})).await.status().as_u16();
            match status {
                202 => {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    *last_accepted.lock().expect("a lock") = Instant::now();
                }
                503 => tokio::time::sleep(Duration::from_millis(20)).await,
                other => panic!("answered by {other}"),
            }
        }
    };
    let outages = async {
        for number in 1..=3 {
            let before = accepted.load(Ordering::Relaxed);
            until("load", async || (accepted.load(Ordering::Relaxed) > before + 20).then_some(())).await;
            let back = outage(&mut server, HEARTBEAT * 3).await;
            let first = until("a 202", async || {
                let last = *last_accepted.lock().expect("a lock");
                (last > back).then(|| last - back)
            })
            .await;
            println!("outage {number}: the first 202 came {first:?} after the server was back");
            assert!(first < Duration::from_secs(10), "{first:?}");
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(clients, clients_of(&stage, &stop), outages);

    LONG_MAY_END.store(true, Ordering::Relaxed);
    until("all tasks to end", async || {
        let open: i64 = stage
            .value("SELECT count(*) FROM longhaul.tasks WHERE state NOT IN ('Succeeded', 'Failed', 'Cancelled')")
            .await;
        (open == 0).then_some(())
    })
    .await;
    let starts = STARTS.lock().expect("a lock").clone();
    assert_eq!(starts, long.iter().map(|id| (*id, 1)).collect(), "no handler was started anew");
    let failed: Vec<String> = sqlx::query_scalar("SELECT error::text FROM longhaul.attempt_error")
        .fetch_all(&stage.pool)
        .await
        .expect("errors");
    assert_eq!(failed, [""; 0]);
    assert_eq!(
        stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE attempt <> 1 OR state <> 'Succeeded'").await,
        0
    );
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.worker WHERE lost_at IS NOT NULL").await, 0);
    let lost: i64 = stage
        .value("SELECT count(*) FROM longhaul.task t WHERE t.type = 'Short' AND NOT EXISTS (SELECT FROM note WHERE task = t.id)")
        .await;
    assert_eq!(lost, 0, "each has had its effect");
    for worker in workers {
        worker.stop().await;
    }
}

/// A second client, which counts nothing.
async fn clients_of(stage: &Stage, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        if stage.post(&json!({"Type": "Short", "Parameters": {}})).await.status() != 202 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_freezes_is_no_workers_death() {
    let (server, stage) = on_a_server_of_its_own().await;
    let settings = longhaul_worker::Settings { heartbeat: HEARTBEAT, ..mortal_worker() };
    let workers = [stage.worker(settings.clone()).await, stage.worker(settings).await];
    for frozen in 1..=3 {
        until("someone to have looked and all to have beaten", async || {
            let fresh = "SELECT count(*) FROM longhaul.worker, longhaul.observation
                          WHERE looked_at > now() - interval '0.3 s' AND heartbeat_at > now() - interval '0.6 s'";
            (stage.value::<i64>(fresh).await == 2).then_some(())
        })
        .await;
        signal_server(&server, "-STOP");
        tokio::time::sleep(HEARTBEAT * 4).await;
        signal_server(&server, "-CONT");
        let resumed: DateTime<Utc> = stage.value("SELECT clock_timestamp()").await;
        until("all to have beaten since", async || {
            let lost = "SELECT count(*) FROM longhaul.worker WHERE lost_at IS NOT NULL";
            let seen = "SELECT jsonb_pretty(jsonb_agg(to_jsonb(w) || to_jsonb(o))) FROM longhaul.worker w, longhaul.observation o";
            if stage.value::<i64>(lost).await > 0 {
                panic!("after {frozen} times: {}", stage.value::<String>(seen).await);
            }
            let since = "SELECT bool_and(heartbeat_at > $1) FROM longhaul.worker";
            let beaten = sqlx::query_scalar::<_, bool>(since).bind(resumed).fetch_one(&stage.pool).await;
            beaten.expect("an answer").then_some(())
        })
        .await;
    }
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.worker").await, 2, "none has registered anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_in_an_outage_is_noticed_after_it() {
    let (mut server, stage) = on_a_server_of_its_own().await;
    let settings = longhaul_worker::Settings { heartbeat: HEARTBEAT, slots: 1, lanes: 1, ..mortal_worker() };
    let doomed = stage.worker(settings.clone()).await;
    stage.enqueue(info_of("Once"), vec![json!({})]).await;
    until("it to have worked", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'").await == 1).then_some(())
    })
    .await;
    let heir = stage.worker(settings).await;
    until("both to be there", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.workers WHERE state = 'alive'").await == 2).then_some(())
    })
    .await;
    server.halt_immediate().await.expect("an outage");
    doomed.kill().await;
    tokio::time::sleep(HEARTBEAT * 3).await;
    server.resume().await.expect("a start");
    let back = Instant::now();
    let (lost, patience): (i32, f64) = until("it to be presumed dead", async || {
        sqlx::query_as(
            "SELECT id, extract(epoch FROM lost_at - pg_postmaster_start_time())::float8
               FROM longhaul.worker WHERE lost_at IS NOT NULL",
        )
        .fetch_optional(&stage.pool)
        .await
        .ok()
        .flatten()
    })
    .await;
    println!("it was presumed dead {:?} after the server was back, {patience:.2} s after its start", back.elapsed());
    assert!(patience >= HEARTBEAT.as_secs_f64() * 1.7, "not before its time: {patience} s");
    assert_eq!(stage.value::<i32>("SELECT min(id) FROM longhaul.worker").await, lost, "the one that died, no other");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.worker WHERE lost_at IS NOT NULL").await, 1);
    heir.stop().await;
}
