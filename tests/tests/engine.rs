//! The engine: claiming, running, failing, rescuing.

use std::time::{Duration, Instant};

use longhaul_devdb::{Options, Server};
use longhaul_model::store::claim::{Floors, claim};
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::finish::{AttemptEnd, AttemptOutcome, LeaseChanges};
use longhaul_model::store::progress::{Details, ProgressWrite, flush, last_words};
use longhaul_model::store::rescue::rescue;
use longhaul_model::store::worker::{WorkerInfo, register};
use longhaul_model::store::{ClaimedTask, LeaseKey};
use longhaul_model::{
    DatabaseClock, LogLevel, LogLine, Outcome, ProblemKind, Progress, Registry, RetryPolicy, RunContext, RunError,
    TaskType, TaskTypeInfo,
};
use longhaul_tests::{Stage, finish, mortal_worker, quick_worker, until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Writes down that it ran.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Note {
    number: i64,
}

impl TaskType for Note {
    const NAME: &'static str = "Note";
    const ID_PREFIX: &'static str = "note-";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        sqlx::query("INSERT INTO note (number, task) VALUES ($1, $2)")
            .bind(self.number)
            .bind(context.task_id())
            .execute(context.pool())
            .await?;
        Ok(Outcome::done())
    }
}

/// Fails in the way it is told, until the given attempt.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Unsteady {
    how: String,
    until_attempt: u16,
}

const HOPELESS: ProblemKind = ProblemKind { code: "hopeless", title: "Hopeless", status: 500 };

impl TaskType for Unsteady {
    const NAME: &'static str = "Unsteady";
    const ID_PREFIX: &'static str = "unsteady-";
    const RETRY: RetryPolicy =
        RetryPolicy { max_attempts: 3, first_delay: Duration::from_millis(20), max_delay: Duration::from_millis(50) };

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        if context.attempt() >= self.until_attempt {
            return Outcome::with_result(json!({"attempt": context.attempt()}));
        }
        match self.how.as_str() {
            "panic" => panic!("as told"),
            "error" => Err(std::io::Error::other("a secret inner cause").into()),
            "permanent" => Err(RunError::permanent(HOPELESS, "It can't be done.")),
            "later" => Err(RunError::retry_after(Duration::from_millis(1), HOPELESS, "Not yet.")),
            "snooze" => {
                let seen: i64 =
                    sqlx::query_scalar("INSERT INTO note (number) VALUES (1) RETURNING (SELECT count(*) FROM note)")
                        .fetch_one(context.pool())
                        .await?;
                Ok(if seen < 2 { Outcome::Snooze(Duration::from_millis(1)) } else { Outcome::done() })
            }
            "nul" => {
                context.progress().set_message("a\0b");
                Outcome::with_result(json!({"text": "a\0b"}))
            }
            other => unreachable!("{other}"),
        }
    }
}

/// Runs until it is told to stop, or forever if it does not listen.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Endless {
    listens: bool,
}

impl TaskType for Endless {
    const NAME: &'static str = "Endless";
    const ID_PREFIX: &'static str = "endless-";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        context.progress().set_total(2);
        context.progress().set_processed(1);
        context.progress().set_message("under way");
        if self.listens {
            context.cancellation().cancelled().await;
        } else {
            std::future::pending::<()>().await;
        }
        Ok(Outcome::Cancelled)
    }
}

fn registry() -> Registry {
    Registry::new().with::<Note>().with::<Unsteady>().with::<Endless>()
}

fn info_of(name: &str) -> TaskTypeInfo {
    *registry().get(name).expect("a registered type").info()
}

async fn stage() -> Stage {
    let stage = Stage::with_registry(registry()).await;
    sqlx::raw_sql("CREATE TABLE note (number bigint, task uuid)").execute(&stage.pool).await.expect("a table");
    stage
}

async fn all_ended(stage: &Stage) {
    until("all tasks to end", async || {
        let open: i64 = stage
            .value("SELECT count(*) FROM longhaul.tasks WHERE state NOT IN ('Succeeded', 'Failed', 'Cancelled')")
            .await;
        (open == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_run_ten_thousand_tasks_each_exactly_once() {
    let stage = stage().await;
    let one = stage.worker(quick_worker()).await;
    let two = stage.worker(quick_worker()).await;
    stage.enqueue(info_of("Note"), (0..10_000).map(|number| json!({"number": number})).collect()).await;
    all_ended(&stage).await;
    let (runs, numbers): (i64, i64) = sqlx::query_as("SELECT count(*), count(DISTINCT number) FROM note")
        .fetch_one(&stage.pool)
        .await
        .expect("counts");
    assert_eq!((runs, numbers), (10_000, 10_000), "each ran, none twice");
    assert_eq!(
        stage.value::<i64>("SELECT count(*) FROM longhaul.tasks WHERE state = 'Succeeded' AND attempt = 1").await,
        10_000
    );
    assert_eq!(
        stage.value::<i64>("SELECT count(DISTINCT worker) FROM longhaul.tasks").await,
        1,
        "same process, same name"
    );
    assert_eq!(stage.value::<i64>("SELECT count(DISTINCT worker_id) FROM longhaul.task").await, 2, "both worked");
    until("the leases to be gone", async || {
        (stage
            .value::<i64>("SELECT (SELECT count(*) FROM longhaul.lease) + (SELECT count(*) FROM longhaul.ready)")
            .await
            == 0)
            .then_some(())
    })
    .await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_panic_or_an_error_fails_that_attempt_only() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    for how in ["panic", "error", "later"] {
        let started = stage.start(&json!({"Type": "Unsteady", "Parameters": {"how": how, "until_attempt": 3}})).await;
        let ended = stage.ended(&started).await;
        assert_eq!((&ended["State"], &ended["Attempt"]), (&json!("Succeeded"), &json!(3)), "{how}");
        assert_eq!(ended["Result"], json!({"attempt": 3}));
    }
    assert_eq!(
        stage.value::<i64>("SELECT count(*) FROM longhaul.attempt_error").await,
        6,
        "every failed attempt is kept"
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_task_without_attempts_left_fails_and_tells_nothing_internal() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    let started = stage.start(&json!({"Type": "Unsteady", "Parameters": {"how": "error", "until_attempt": 9}})).await;
    let ended = stage.ended(&started).await;
    assert_eq!((&ended["State"], &ended["Attempt"], &ended["Complete"]), (&json!("Failed"), &json!(3), &json!(true)));
    assert_eq!(ended["Error"]["code"], "attempt-failed");
    assert!(!ended.to_string().contains("secret"), "{ended}");
    let causes: i64 = stage
        .value("SELECT count(*) FROM longhaul.attempt_error WHERE error ->> 'cause' LIKE '%secret inner cause%'")
        .await;
    assert_eq!(causes, 3, "the operator sees the cause of each attempt");
    worker.stop().await;
}

#[tokio::test]
async fn a_permanent_error_is_not_tried_again() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    let started =
        stage.start(&json!({"Type": "Unsteady", "Parameters": {"how": "permanent", "until_attempt": 9}})).await;
    let ended = stage.ended(&started).await;
    assert_eq!((&ended["State"], &ended["Attempt"]), (&json!("Failed"), &json!(1)));
    assert_eq!((&ended["Error"]["code"], &ended["Error"]["detail"]), (&json!("hopeless"), &json!("It can't be done.")));
    worker.stop().await;
}

#[tokio::test]
async fn a_snooze_spends_no_attempt() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    let started = stage.start(&json!({"Type": "Unsteady", "Parameters": {"how": "snooze", "until_attempt": 9}})).await;
    let ended = stage.ended(&started).await;
    assert_eq!((&ended["State"], &ended["Attempt"]), (&json!("Succeeded"), &json!(1)));
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM note").await, 3, "it ran three times");
    worker.stop().await;
}

#[tokio::test]
async fn an_outcome_that_can_not_be_stored_fails_its_task_and_holds_up_no_other() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    let bad = stage.start(&json!({"Type": "Unsteady", "Parameters": {"how": "nul", "until_attempt": 9}})).await;
    let good = stage.start(&json!({"Type": "Note", "Parameters": {"number": 1}})).await;
    assert_eq!(stage.ended(&good).await["State"], "Succeeded");
    let bad = stage.ended(&bad).await;
    assert_eq!((&bad["State"], &bad["Error"]["code"]), (&json!("Failed"), &json!("not-storable")));
    worker.stop().await;
}

#[tokio::test]
async fn the_view_tells_state_progress_message_attempt_age_and_worker_in_words() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    let started = stage.start(&json!({"Type": "Endless", "Parameters": {"listens": true}})).await;
    until("its progress to show", async || {
        let (_, body) = stage.get(started["Self"].as_str().expect("an address")).await;
        (body["Message"] == "under way").then_some(())
    })
    .await;
    let row: (String, String, f64, String, i32, bool, bool) = sqlx::query_as(
        "SELECT public_id, state::text, progress::float8, message, attempt, age > interval '0', worker IS NOT NULL
           FROM longhaul.tasks",
    )
    .fetch_one(&stage.pool)
    .await
    .expect("a row");
    let id = started["Id"].as_str().expect("an id").to_owned();
    assert_eq!(row, (id, "Running".to_owned(), 0.5, "under way".to_owned(), 1, true, true));
    let queue: (String, i64, i64) = sqlx::query_as("SELECT queue, ready, running FROM longhaul.queues")
        .fetch_one(&stage.pool)
        .await
        .expect("a queue");
    assert_eq!(queue, ("default".to_owned(), 0, 1));
    let workers: (String, i64) =
        sqlx::query_as("SELECT state, running FROM longhaul.workers").fetch_one(&stage.pool).await.expect("a worker");
    assert_eq!(workers, ("alive".to_owned(), 1));
    worker.stop().await;
    assert_eq!(stage.value::<String>("SELECT state FROM longhaul.workers").await, "stopped");
}

#[tokio::test]
async fn running_is_seen_from_the_claim_on_although_the_claim_writes_no_task_row() {
    let stage = stage().await;
    stage.enqueue(info_of("Note"), vec![json!({"number": 1})]).await;
    let hand = Hand::register(&stage).await;
    assert_eq!(stage.value::<String>("SELECT state::text FROM longhaul.tasks").await, "Queued");
    let claimed = hand.claim(&stage, 10).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(stage.value::<String>("SELECT state::text FROM longhaul.tasks").await, "Running");
    assert_eq!(stage.value::<String>("SELECT state::text FROM longhaul.task").await, "Queued", "the row is untouched");
    assert_eq!(stage.value::<String>("SELECT worker FROM longhaul.tasks").await, "hand");
}

#[tokio::test]
async fn stopping_a_worker_lets_tasks_end_and_gives_back_the_rest() {
    let stage = stage().await;
    let settings = longhaul_worker::Settings { drain: Duration::from_millis(50), slots: 2, ..quick_worker() };
    let worker = stage.worker(settings).await;
    let listens = stage.start(&json!({"Type": "Endless", "Parameters": {"listens": true}})).await;
    let deaf = stage.start(&json!({"Type": "Endless", "Parameters": {"listens": false}})).await;
    for body in [&listens, &deaf] {
        until("it to run", async || {
            let (_, body) = stage.get(body["Self"].as_str().expect("an address")).await;
            (body["State"] == "Running" && body["Message"] == "under way").then_some(())
        })
        .await;
    }
    worker.stop().await;
    let (_, listens) = stage.get(listens["Self"].as_str().expect("an address")).await;
    assert_eq!((&listens["State"], &listens["Attempt"]), (&json!("Queued"), &json!(0)), "given back, no attempt spent");
    let (_, deaf) = stage.get(deaf["Self"].as_str().expect("an address")).await;
    assert_eq!((&deaf["State"], &deaf["Attempt"]), (&json!("Queued"), &json!(1)), "abandoned, so the attempt counts");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.lease").await, 0);
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.ready").await, 2);
}

#[tokio::test]
async fn a_killed_workers_tasks_are_with_another_within_two_heartbeats() {
    let stage = stage().await;
    let doomed = stage.worker(mortal_worker()).await;
    let started = stage.start(&json!({"Type": "Endless", "Parameters": {"listens": true}})).await;
    let address = started["Self"].as_str().expect("an address");
    until("it to run", async || (stage.get(address).await.1["Message"] == "under way").then_some(())).await;
    let second = stage.worker(quick_worker()).await;
    doomed.kill().await;
    until("the second attempt", async || (stage.get(address).await.1["Attempt"] == 2).then_some(())).await;
    // Measured by the database's clock, from the last beat to the rescue.
    let late: f64 = stage
        .value(
            "SELECT extract(epoch FROM lost_at - heartbeat_at)::float8 FROM longhaul.worker WHERE lost_at IS NOT NULL",
        )
        .await;
    assert!(late >= 0.5 * 1.7, "not before its time: {late} s");
    let error: String = stage.value("SELECT error ->> 'code' FROM longhaul.attempt_error").await;
    assert_eq!(error, "worker-lost");
    second.stop().await;
}

/// A worker whose every step the test decides.
struct Hand {
    worker_id: i32,
}

impl Hand {
    async fn register(stage: &Stage) -> Self {
        let info = WorkerInfo {
            name: "hand".to_owned(),
            version: "0".to_owned(),
            queues: vec!["default".to_owned()],
            slots: 1,
            heartbeat: Duration::from_millis(200),
        };
        Self { worker_id: register(&stage.pool, &info).await.expect("an id") }
    }

    async fn claim(&self, stage: &Stage, limit: usize) -> Vec<ClaimedTask> {
        let mut floors = Floors::new(vec!["default".to_owned()], None);
        let number: i64 = stage.value("SELECT coalesce(max(number), 0) + 1 FROM longhaul.lease").await;
        claim(&stage.pool, &mut floors, LeaseKey { worker_id: self.worker_id, number }, limit).await.expect("a claim")
    }

    fn end(task: &ClaimedTask, verdict: AttemptOutcome) -> AttemptEnd {
        AttemptEnd {
            id: task.id,
            lease_number: task.lease.number,
            attempt: task.attempt,
            elapsed: Duration::from_millis(1),
            progress: Progress::of(1, 1),
            checkpoint: None,
            verdict,
            asked_to_cancel: false,
            special: task.special,
        }
    }

    async fn is_presumed_dead(&self, stage: &Stage) {
        until("the worker to be presumed dead", async || {
            let rescued = rescue(&stage.pool).await.expect("a rescue");
            rescued.workers.contains(&self.worker_id).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_lost_lease_cannot_finish_or_progress_its_task() {
    let stage = stage().await;
    stage.enqueue(info_of("Note"), vec![json!({"number": 1})]).await;
    let first = Hand::register(&stage).await;
    let task = first.claim(&stage, 1).await.remove(0);
    first.is_presumed_dead(&stage).await;
    assert!(first.claim(&stage, 1).await.is_empty(), "presumed dead, it claims nothing");
    let second = Hand::register(&stage).await;
    let again = second.claim(&stage, 1).await.remove(0);
    assert_eq!((again.id, again.attempt), (task.id, 1), "nothing had been heard of the first attempt");

    let write = ProgressWrite {
        id: task.id,
        lease_number: task.lease.number,
        attempt: task.attempt,
        elapsed: Duration::ZERO,
        progress: Progress::of(1, 2).with_message("from the dead"),
        checkpoint: Some(json!("stale")),
        details: Details {
            lines: vec![LogLine { number: 1, at: Instant::now(), level: LogLevel::Info, text: "stale".into() }],
            logged: Some(1),
            log_lines: 10,
            ..Details::default()
        },
    };
    assert!(last_words(&stage.pool, first.worker_id, std::slice::from_ref(&write)).await.expect("no words").is_empty());
    assert!(flush(&stage.pool, first.worker_id, &[write]).await.expect("a flush").is_empty());
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task_log").await, 0);
    let ends = [Hand::end(&task, AttemptOutcome::Failed(longhaul_model::Problem::new(HOPELESS, "late"), None))];
    assert!(finish(&stage.pool, first.worker_id, &ends, &LeaseChanges::default()).await.expect("a finish").is_empty());
    let untouched: bool =
        stage.value("SELECT state = 'Queued' AND message IS NULL AND checkpoint IS NULL FROM longhaul.task").await;
    assert!(untouched);

    let ends = [Hand::end(&again, AttemptOutcome::Succeeded(None))];
    assert_eq!(
        finish(&stage.pool, second.worker_id, &ends, &LeaseChanges::default()).await.expect("a finish"),
        [task.id]
    );
    assert_eq!(stage.value::<String>("SELECT state::text FROM longhaul.tasks").await, "Succeeded");
    // Nobody drops the second hand's lease.
    stage.strands_tasks();
}

#[tokio::test]
async fn finishing_twice_changes_nothing_the_second_time() {
    let stage = stage().await;
    stage.enqueue(info_of("Note"), vec![json!({"number": 1})]).await;
    let hand = Hand::register(&stage).await;
    let task = hand.claim(&stage, 1).await.remove(0);
    let kept = LeaseChanges::default();
    let done = [Hand::end(&task, AttemptOutcome::Succeeded(Some(json!(1))))];
    assert_eq!(finish(&stage.pool, hand.worker_id, &done, &kept).await.expect("a finish").len(), 1);
    let failed = [Hand::end(&task, AttemptOutcome::Succeeded(Some(json!(2))))];
    assert!(finish(&stage.pool, hand.worker_id, &failed, &kept).await.expect("a finish").is_empty());
    assert_eq!(stage.value::<Value>("SELECT result FROM longhaul.task").await, json!(1));
    // Nobody drops the hand's lease.
    stage.strands_tasks();
}

#[tokio::test]
async fn a_retried_task_leaves_its_lease_so_a_rescue_does_not_put_it_back_twice() {
    let stage = stage().await;
    stage.enqueue(info_of("Note"), vec![json!({"number": 1}), json!({"number": 2})]).await;
    let hand = Hand::register(&stage).await;
    let tasks = hand.claim(&stage, 2).await;
    let retry = AttemptOutcome::Retry(Duration::from_secs(3600), longhaul_model::Problem::new(HOPELESS, "again"), None);
    let ends = [Hand::end(&tasks[0], retry)];
    let leases = LeaseChanges { emptied: vec![], shortened: vec![tasks[0].lease.number] };
    finish(&stage.pool, hand.worker_id, &ends, &leases).await.expect("a finish");
    hand.is_presumed_dead(&stage).await;
    let ready: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT id FROM longhaul.ready").fetch_all(&stage.pool).await.expect("ids");
    assert_eq!(ready, [tasks[1].id], "only the one that was at work");
    let states: Vec<String> = sqlx::query_scalar("SELECT state::text FROM longhaul.tasks ORDER BY id")
        .fetch_all(&stage.pool)
        .await
        .expect("states");
    assert_eq!(states, ["Retrying", "Queued"]);
}

#[tokio::test]
async fn a_wrong_clock_does_not_hide_tasks() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    // Floors move up to now …
    let now = stage.start(&json!({"Type": "Note", "Parameters": {"number": 1}})).await;
    stage.ended(&now).await;
    // … and a machine that is a day behind and never learned better enqueues.
    let behind = DatabaseClock::with_offset(-24 * 3600 * 1000);
    let task = NewTask::new(behind.new_id(), info_of("Note"), json!({"number": 2}));
    enqueue(&stage.pool, &[task]).await.expect("stored");
    all_ended(&stage).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_backlog_hides_no_queue_that_was_empty_before() {
    let stage = stage().await;
    let hand = Hand::register(&stage).await;
    let mut floors = Floors::new(vec!["default".to_owned(), "other".to_owned()], None);
    let mut leases = 1..;
    let mut claim_three = async || {
        let lease = LeaseKey { worker_id: hand.worker_id, number: leases.next().expect("a number") };
        let claimed = claim(&stage.pool, &mut floors, lease, 3).await.expect("a claim");
        let more = claimed.len() == 3 || floors.due().is_some();
        (claimed, more)
    };
    stage.enqueue(info_of("Note"), (0..10).map(|number| json!({"number": number})).collect()).await;
    assert_eq!(claim_three().await.0.len(), 3);
    let other = TaskTypeInfo { queue: "other", priority: 0, ..info_of("Note") };
    stage.enqueue(other, vec![json!({"number": 10})]).await;
    // Claims until there is nothing more, as a lane does, and not once more.
    let mut taken = 3;
    loop {
        let (claimed, more) = claim_three().await;
        taken += claimed.len();
        if !more {
            break;
        }
    }
    assert_eq!(taken, 11);
}

#[tokio::test]
async fn ids_carry_the_databases_time() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let id = clock.new_id();
    let (seconds, _) = id.get_timestamp().expect("a UUIDv7").to_unix();
    let database: f64 = stage.value("SELECT extract(epoch FROM clock_timestamp())::float8").await;
    assert!((seconds as f64 - database).abs() < 2.0);
}

#[tokio::test]
async fn what_is_scheduled_waits_and_then_runs() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    let due: chrono::DateTime<chrono::Utc> = stage.value("SELECT now() + interval '2 s'").await;
    let clock = stage.clock().await;
    let task = NewTask { run_at: Some(due), ..NewTask::new(clock.new_id(), info_of("Note"), json!({"number": 1})) };
    enqueue(&stage.pool, &[task]).await.expect("stored");
    let waits = "SELECT state = 'Scheduled' OR clock_timestamp() >= run_at FROM longhaul.tasks";
    assert!(stage.value::<bool>(waits).await);
    all_ended(&stage).await;
    let late: bool = stage.value("SELECT started_at >= run_at FROM longhaul.task").await;
    assert!(late, "not before its time");
    worker.stop().await;
}

#[tokio::test]
async fn urgent_tasks_go_first_and_equals_in_the_order_they_came() {
    let stage = stage().await;
    let usual = info_of("Note");
    let urgent = TaskTypeInfo { priority: 0, ..usual };
    let mut expected = stage.enqueue(usual, vec![json!({"number": 1}), json!({"number": 2})]).await;
    let first = stage.enqueue(urgent, vec![json!({"number": 3})]).await;
    expected.splice(0..0, first);
    let hand = Hand::register(&stage).await;
    let claimed: Vec<_> = hand.claim(&stage, 10).await.into_iter().map(|task| task.id).collect();
    assert_eq!(claimed, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_on_after_a_restart_of_the_database() {
    let mut server = Server::start(Options::temporary()).await.expect("a server");
    server.ensure_database("restarted").await.expect("a database");
    let stage = Stage::builder(registry()).database(&server.url("restarted")).start().await;
    sqlx::raw_sql("CREATE TABLE note (number bigint, task uuid)").execute(&stage.pool).await.expect("a table");
    let worker = stage.worker(quick_worker()).await;
    stage.enqueue(info_of("Note"), (0..2_000).map(|number| json!({"number": number})).collect()).await;
    until("some to have run", async || (stage.value::<i64>("SELECT count(*) FROM note").await > 100).then_some(()))
        .await;
    server.restart_immediate().await.expect("a restart");
    until("all tasks to end", async || {
        let open: Option<i64> = sqlx::query_scalar(
            "SELECT count(*) FROM longhaul.tasks WHERE state NOT IN ('Succeeded', 'Failed', 'Cancelled')",
        )
        .fetch_one(&stage.pool)
        .await
        .ok();
        (open == Some(0)).then_some(())
    })
    .await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.tasks WHERE state = 'Succeeded'").await, 2_000);
    assert_eq!(stage.value::<i64>("SELECT count(DISTINCT number) FROM note").await, 2_000, "none is lost");
    worker.stop().await;
}

#[tokio::test]
async fn ends_are_unknown_to_the_claim_that_was_lost_so_it_is_given_back() {
    let stage = stage().await;
    stage.enqueue(info_of("Note"), vec![json!({"number": 1})]).await;
    let hand = Hand::register(&stage).await;
    let task = hand.claim(&stage, 1).await.remove(0);
    let released = longhaul_model::store::rescue::release_lease(&stage.pool, task.lease).await.expect("a release");
    assert_eq!(released, 1);
    let again = hand.claim(&stage, 1).await.remove(0);
    assert_eq!((again.id, again.attempt), (task.id, 1), "it had not begun, so no attempt was spent");
}

#[tokio::test]
async fn a_flush_passes_over_a_locked_task_and_writes_the_others() {
    let stage = stage().await;
    stage.enqueue(info_of("Note"), vec![json!({"number": 1}), json!({"number": 2})]).await;
    let hand = Hand::register(&stage).await;
    let claimed = hand.claim(&stage, 2).await;
    let writes: Vec<ProgressWrite> = claimed
        .iter()
        .map(|task| ProgressWrite {
            id: task.id,
            lease_number: task.lease.number,
            attempt: task.attempt,
            elapsed: Duration::ZERO,
            progress: Progress::of(1, 2),
            checkpoint: None,
            details: Details::default(),
        })
        .collect();
    // As while it is being ended, or in the transaction of its handler.
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM longhaul.task WHERE id = $1 FOR NO KEY UPDATE")
        .bind(claimed[0].id)
        .execute(&mut *transaction)
        .await
        .expect("a lock");
    let flushed = tokio::time::timeout(longhaul_tests::DEADLINE, flush(&stage.pool, hand.worker_id, &writes));
    assert_eq!(flushed.await.expect("it does not wait").expect("a flush"), [claimed[1].id]);
    transaction.rollback().await.expect("the lock goes");
    assert_eq!(flush(&stage.pool, hand.worker_id, &writes).await.expect("a flush").len(), 2);
}
