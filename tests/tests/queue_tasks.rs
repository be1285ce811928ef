//! `CancelTasks` and `RetryTasks`: many tasks at once, by filter, as a task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longhaul::queue_task;
use longhaul_model::problem::ProblemKind;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::find::TaskFilter;
use longhaul_model::{Outcome, Registry, Resources, RunContext, RunError, State, TaskType};
use longhaul_tests::{Stage, mortal_worker, quick_worker, until};
use longhaul_worker::Settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

const BROKEN: ProblemKind = ProblemKind { code: "broken", title: "Broken", status: 500 };

/// Whether jobs fail; the host's.
#[derive(Clone, Default)]
struct Failing(Arc<AtomicBool>);

/// Fails while the host says so; else waits to be cancelled, if it is to wait.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Job {
    waits: bool,
    tenant: Option<String>,
}

impl TaskType for Job {
    const NAME: &'static str = "Job";
    const ID_PREFIX: &'static str = "job-";
    const QUEUE: &'static str = "jobs";

    fn key(&self) -> Option<String> {
        self.tenant.clone()
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        if context.resources().get::<Failing>().is_some_and(|failing| failing.0.load(Ordering::SeqCst)) {
            return Err(RunError::permanent(BROKEN, "It is broken."));
        }
        if self.waits {
            context.cancellation().cancelled().await;
            return Ok(Outcome::Cancelled);
        }
        Ok(Outcome::done())
    }
}

/// Another type, of the same queue.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Errand {}

impl TaskType for Errand {
    const NAME: &'static str = "Errand";
    const ID_PREFIX: &'static str = "errand-";
    const QUEUE: &'static str = "jobs";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

fn registry() -> Registry {
    queue_task::register(Registry::new().with::<Job>().with::<Errand>())
}

async fn stage() -> (Stage, Failing) {
    let failing = Failing::default();
    let stage = Stage::builder(registry()).resources(Resources::new().with(failing.clone())).start().await;
    (stage, failing)
}

/// Serves only the tasks about tasks.
fn control() -> Settings {
    Settings { queues: vec![queue_task::QUEUE.to_owned()], ..quick_worker() }
}

async fn jobs(stage: &Stage, job: &Job, count: usize) -> Vec<Uuid> {
    let clock = stage.clock().await;
    let tasks: Vec<NewTask> = (0..count).map(|_| NewTask::of(clock.new_id(), job).expect("JSON")).collect();
    for batch in tasks.chunks(2_000) {
        enqueue(&stage.pool, batch).await.expect("stored");
    }
    tasks.iter().map(|task| task.id).collect()
}

async fn done(stage: &Stage, name: &str, parameters: Value) -> Value {
    let accepted = stage.start(&json!({"Type": name, "Parameters": parameters})).await;
    let ended = stage.ended(&accepted).await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
    ended
}

async fn states(stage: &Stage) -> Vec<(String, String, i64)> {
    sqlx::query_as("SELECT type, state::text, count(*) FROM longhaul.tasks WHERE type IN ('Job', 'Errand') GROUP BY 1, 2 ORDER BY 1, 2")
        .fetch_all(&stage.pool)
        .await
        .expect("counts")
}

fn row(name: &str, state: &str, count: i64) -> (String, String, i64) {
    (name.to_owned(), state.to_owned(), count)
}

#[tokio::test]
async fn tasks_that_wait_and_run_are_cancelled_by_filter_and_others_are_left_alone() {
    let (stage, _) = stage().await;
    let worker = stage.worker(Settings { slots: 4, ..quick_worker() }).await;
    jobs(&stage, &Job { waits: true, tenant: None }, 4).await;
    until("all slots to be taken", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.tasks WHERE state = 'Running'").await == 4).then_some(())
    })
    .await;
    jobs(&stage, &Job::default(), 1_500).await;
    stage.enqueue(*registry().get("Errand").expect("a type").info(), vec![json!({}); 7]).await;
    let control = stage.worker(control()).await;

    let ended = done(&stage, "CancelTasks", json!({"Types": ["Job"]})).await;
    let result = &ended["Result"];
    let number = |name: &str| result[name].as_i64().expect("a number");
    // Slots that are free again take more meanwhile.
    assert!(number("Requested") >= 4 && number("Cancelled") > 1_000, "{result}");
    assert_eq!(number("Requested") + number("Cancelled") + number("Ended"), 1_504, "{result}");
    assert_eq!((&ended["TotalElements"], &ended["ProcessedElements"]), (&json!(1_504), &json!(1_504)));
    until("all to end", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.tasks WHERE finished_at IS NULL").await == 0).then_some(())
    })
    .await;
    assert!(states(&stage).await.contains(&row("Errand", "Succeeded", 7)));
    assert_eq!(
        stage
            .value::<i64>("SELECT count(*) FROM longhaul.tasks WHERE type = 'CancelTasks' AND state = 'Cancelled'")
            .await,
        0,
        "it never cancels itself"
    );
    worker.stop().await;
    control.stop().await;
}

#[tokio::test]
async fn what_failed_is_run_again_by_the_code_of_its_error() {
    let (stage, failing) = stage().await;
    failing.0.store(true, Ordering::SeqCst);
    let worker = stage.worker(quick_worker()).await;
    jobs(&stage, &Job::default(), 500).await;
    stage.enqueue(*registry().get("Job").expect("a type").info(), vec![json!({"nonsense": 1}); 3]).await;
    until("all to fail", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.tasks WHERE state = 'Failed'").await == 503).then_some(())
    })
    .await;
    failing.0.store(false, Ordering::SeqCst);
    let ended = done(&stage, "RetryTasks", json!({"ErrorCode": "broken", "States": ["Failed"]})).await;
    assert_eq!(ended["Result"], json!({"Queued": 500, "Taken": 0, "Open": 0}));
    until("the retried to succeed", async || {
        (states(&stage).await == [row("Job", "Failed", 3), row("Job", "Succeeded", 500)]).then_some(())
    })
    .await;
    worker.stop().await;
}

#[tokio::test]
async fn an_empty_or_impossible_filter_is_refused_with_its_pointers() {
    let (stage, _) = stage().await;
    for (name, parameters, pointers) in [
        ("CancelTasks", json!({}), vec!["/Parameters"]),
        ("RetryTasks", json!({"Types": [], "States": []}), vec!["/Parameters"]),
        ("CancelTasks", json!({"Types": ["Job", "Jbo"]}), vec!["/Parameters/Types/1"]),
        ("CancelTasks", json!({"States": ["Failed"]}), vec!["/Parameters/States/0"]),
        ("RetryTasks", json!({"States": ["Succeeded"]}), vec!["/Parameters/States/0"]),
        ("RetryTasks", json!({"AcceptedAfter": "yesterday"}), vec!["/Parameters/AcceptedAfter"]),
        ("CancelTasks", json!({"Quue": "jobs"}), vec!["/Parameters/Quue"]),
        (
            "CancelTasks",
            json!({"AcceptedAfter": "2026-01-02T00:00:00Z", "AcceptedBefore": "2026-01-01T00:00:00Z"}),
            vec!["/Parameters/AcceptedBefore"],
        ),
    ] {
        let response = stage.post(&json!({"Type": name, "Parameters": parameters})).await;
        let status = response.status();
        let problem: Value = response.json().await.expect("JSON");
        assert_eq!((status.as_u16(), &problem["code"]), (400, &json!("invalid-parameters")), "{parameters}: {problem}");
        let told: Vec<&str> = (problem["errors"].as_array().expect("a list").iter())
            .map(|error| error["pointer"].as_str().expect("a pointer"))
            .collect();
        assert_eq!(told, pointers, "{problem}");
    }
}

#[tokio::test]
async fn every_criterion_narrows_the_filter() {
    let (stage, _) = stage().await;
    let job = |tenant: &str| Job { waits: false, tenant: Some(tenant.to_owned()) };
    let ours = jobs(&stage, &job("a"), 3).await;
    jobs(&stage, &job("b"), 5).await;
    let _id: String =
        stage.value("SELECT longhaul.enqueue('Job', created_by => 'nobody', run_at => now() + interval '1 h')").await;
    let _id: String = stage.value("SELECT longhaul.enqueue('Job', queue => 'elsewhere')").await;
    let middle: chrono::DateTime<chrono::Utc> =
        stage.value("SELECT accepted_at FROM longhaul.task WHERE key = 'b' LIMIT 1").await;
    let count = async |filter: TaskFilter| {
        filter.find(&stage.pool, Uuid::nil(), Uuid::max(), 1_000).await.expect("an answer").ids.len()
    };
    let any = TaskFilter::default;
    assert_eq!(count(any()).await, 10);
    assert_eq!(count(TaskFilter { key: Some("a".to_owned()), ..any() }).await, 3);
    assert_eq!(count(TaskFilter { created_by: Some("nobody".to_owned()), ..any() }).await, 1);
    assert_eq!(count(TaskFilter { queue: Some("elsewhere".to_owned()), ..any() }).await, 1);
    assert_eq!(count(TaskFilter { types: vec!["Errand".to_owned()], ..any() }).await, 0);
    assert_eq!(count(TaskFilter { states: vec![State::Scheduled], ..any() }).await, 1);
    assert_eq!(count(TaskFilter { states: vec![State::Running, State::Failed], ..any() }).await, 0);
    assert_eq!(count(TaskFilter { accepted_before: Some(middle), ..any() }).await, 3);
    assert_eq!(count(TaskFilter { accepted_after: Some(middle), ..any() }).await, 7);
    assert_eq!(count(TaskFilter { error_code: Some("broken".to_owned()), ..any() }).await, 0);
    let found = any().find(&stage.pool, ours[0], Uuid::max(), 2).await.expect("an answer");
    assert_eq!((found.ids, found.last), (ours[1..].to_vec(), Some(ours[2])), "a window is what was looked at");
}

/// How many rows of `longhaul.task` a statement has read so far in this transaction.
async fn rows_read(connection: &mut sqlx::PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
          WHERE relid = 'longhaul.task'::regclass",
    )
    .fetch_one(connection)
    .await
    .expect("statistics")
}

#[tokio::test]
async fn what_failed_is_found_without_a_walk_along_the_table() {
    let (stage, failing) = stage().await;
    failing.0.store(true, Ordering::SeqCst);
    let worker = stage.worker(quick_worker()).await;
    jobs(&stage, &Job { tenant: Some("a".to_owned()), ..Job::default() }, 3).await;
    let all = async |state: &str, number: i64| {
        let sql = format!("SELECT count(*) FROM longhaul.tasks WHERE state = '{state}'");
        until(state, async || (count(&stage, &sql).await == number).then_some(())).await;
    };
    all("Failed", 3).await;
    failing.0.store(false, Ordering::SeqCst);
    jobs(&stage, &Job::default(), 2_000).await;
    all("Succeeded", 2_000).await;
    failing.0.store(true, Ordering::SeqCst);
    jobs(&stage, &Job { tenant: Some("b".to_owned()), ..Job::default() }, 2).await;
    all("Failed", 5).await;
    worker.stop().await;

    let failed = TaskFilter { states: vec![State::Failed], ..TaskFilter::default() };
    let both = TaskFilter { states: vec![State::Failed, State::Cancelled], ..TaskFilter::default() };
    let code = |code: &str| TaskFilter { error_code: Some(code.to_owned()), ..both.clone() };
    for (filter, fit, looked_at) in [
        (failed.clone(), 5, 5),
        (TaskFilter { key: Some("a".to_owned()), ..failed.clone() }, 3, 5),
        (code("broken"), 5, 5),
        (code("other"), 0, 0),
        (TaskFilter { types: vec!["Errand".to_owned()], ..failed.clone() }, 0, 0),
    ] {
        let mut transaction = stage.pool.begin().await.expect("a transaction");
        let before = rows_read(&mut transaction).await;
        let found = filter.find(&mut *transaction, Uuid::nil(), Uuid::max(), 100).await.expect("an answer");
        assert_eq!(found.ids.len(), fit, "{filter:?}: one look finds all of them");
        let read = rows_read(&mut transaction).await - before;
        assert!(read <= looked_at, "{filter:?}: {read} rows of {looked_at}");
    }
    // In steps.
    let (mut after, mut ids) = (Uuid::nil(), Vec::new());
    while let found = failed.find(&stage.pool, after, Uuid::max(), 2).await.expect("an answer")
        && let Some(last) = found.last
    {
        ids.extend(found.ids);
        after = last;
    }
    assert_eq!(ids.len(), 5);
    assert!(ids.is_sorted());
}

async fn count(stage: &Stage, sql: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(&stage.pool).await.expect("a number")
}

#[tokio::test]
async fn a_killed_worker_neither_skips_nor_doubles_what_is_cancelled() {
    let (stage, _) = stage().await;
    jobs(&stage, &Job::default(), 4_000).await;
    let settings = || Settings { queues: vec![queue_task::QUEUE.to_owned()], ..mortal_worker() };
    let first = stage.worker(settings()).await;
    let accepted = stage.start(&json!({"Type": "CancelTasks", "Parameters": {"Queue": "jobs"}})).await;
    until("some to be cancelled", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE state = 'Cancelled'").await > 400).then_some(())
    })
    .await;
    first.kill().await;
    let second = stage.worker(settings()).await;
    let ended = stage.ended(&accepted).await;
    assert_eq!(ended["Result"], json!({"Cancelled": 4_000, "Requested": 0, "Ended": 0}), "{ended}");
    assert_eq!(states(&stage).await, [row("Job", "Cancelled", 4_000)]);
    second.stop().await;
}

#[tokio::test]
async fn a_filter_that_names_nothing_changes_nothing_also_when_it_comes_from_sql() {
    let (stage, _) = stage().await;
    jobs(&stage, &Job::default(), 3).await;
    let worker = stage.worker(control()).await;
    for (name, parameters) in [("CancelTasks", json!({})), ("CancelTasks", json!({"Types": [], "States": []}))]
        .into_iter()
        .chain([("RetryTasks", json!({}))])
    {
        let id: String = sqlx::query_scalar("SELECT longhaul.enqueue($1, $2)")
            .bind(name)
            .bind(&parameters)
            .fetch_one(&stage.pool)
            .await
            .expect("stored");
        let ended = stage.ended(&json!({"Self": format!("/api/backgroundtask/{id}")})).await;
        assert_eq!((&ended["State"], &ended["Error"]["code"]), (&json!("Failed"), &json!("not-runnable")), "{ended}");
    }
    assert_eq!(states(&stage).await, [row("Job", "Queued", 3)]);
    worker.stop().await;
}

#[tokio::test]
async fn a_program_may_have_a_type_of_that_name_of_its_own() {
    #[derive(Debug, Serialize, Deserialize, JsonSchema)]
    struct CancelTasks {}
    impl TaskType for CancelTasks {
        const NAME: &'static str = "CancelTasks";
        const ID_PREFIX: &'static str = "own-";

        async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
            Ok(Outcome::done())
        }
    }
    let registry = queue_task::register(Registry::new().with::<CancelTasks>());
    assert_eq!(registry.get("CancelTasks").expect("a type").info().id_prefix, "own-");
    assert!(registry.get("RetryTasks").is_ok());
}
