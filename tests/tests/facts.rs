//! What pages and the API show as a fact is one: failures behind many newer tasks, counts by
//! state, queues that nobody serves, slots that are busy.

use std::time::Duration;

use longhaul::queue_task;
use longhaul_model::problem::ProblemKind;
use longhaul_model::store::cancel::{cancel, retry};
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::linked::{Dependency, IfFailed, enqueue_linked, follow};
use longhaul_model::store::repair::Inspection;
use longhaul_model::store::rescue::rescue;
use longhaul_model::store::retention::{Retention, remove_these};
use longhaul_model::{Outcome, Registry, RunContext, RunError, TaskType};
use longhaul_tests::{Stage, quick_worker, until};
use longhaul_worker::Settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

const BROKEN: ProblemKind = ProblemKind { code: "broken", title: "Broken", status: 500 };
const JAMMED: ProblemKind = ProblemKind { code: "jammed", title: "Jammed", status: 500 };

/// Fails of one of two causes, or is done at once.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Job {
    fails: bool,
    jams: bool,
}

impl TaskType for Job {
    const NAME: &'static str = "Job";
    const ID_PREFIX: &'static str = "job-";
    const QUEUE: &'static str = "jobs";

    async fn run(self, _: RunContext) -> Result<Outcome, RunError> {
        match self {
            Self { fails: true, .. } => Err(RunError::permanent(BROKEN, "The pump is broken.")),
            Self { jams: true, .. } => Err(RunError::permanent(JAMMED, "The printer is jammed.")),
            _ => Ok(Outcome::done()),
        }
    }
}

async fn stage() -> Stage {
    Stage::with_registry(queue_task::register(Registry::new().with::<Job>())).await
}

async fn new(stage: &Stage, job: Job) -> NewTask {
    let clock = stage.clock().await;
    NewTask::of(clock.new_id(), &job).expect("JSON")
}

async fn jobs(stage: &Stage, jobs: Vec<Job>) -> Vec<Uuid> {
    let mut tasks = Vec::new();
    for job in jobs {
        tasks.push(new(stage, job).await);
    }
    enqueue(&stage.pool, &tasks).await.expect("stored");
    tasks.iter().map(|task| task.id).collect()
}

/// Tasks that succeeded, newer than all others.
async fn newer(stage: &Stage, count: i32) {
    stage
        .execute(format!(
            "INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, state, attempt, fraction, finished_at)
             SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint + n), 12, '0')
                     || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
                    'Job', 'jobs', 5, 3, 'Succeeded', 1, 1, now()
               FROM generate_series(1, {count}) AS n;
             INSERT INTO longhaul.successes (tasks) VALUES ({count})"
        ))
        .await;
}

async fn text(stage: &Stage, path: &str) -> String {
    let browser = longhaul_tests::http_client().no_proxy().build().expect("a client");
    let response = browser.get(format!("{}{path}", stage.base_url)).send().await.expect("an answer");
    assert_eq!(response.status(), 200, "{path}");
    response.text().await.expect("text")
}

async fn ended(stage: &Stage, count: i64) {
    until("jobs to end", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE finished_at IS NOT NULL").await >= count)
            .then_some(())
    })
    .await;
}

/// What is noted of ends without success: state, cause and number.
async fn recorded_failures(stage: &Stage) -> Vec<(String, Option<String>, i64)> {
    sqlx::query_as("SELECT state::text, code, count(*) FROM longhaul.unsuccessful GROUP BY 1, 2 ORDER BY 1, 2")
        .fetch_all(&stage.pool)
        .await
        .expect("rows")
}

fn row(state: &str, code: Option<&str>, tasks: i64) -> (String, Option<String>, i64) {
    (state.to_owned(), code.map(str::to_owned), tasks)
}

#[tokio::test]
async fn failures_are_known_and_counted_behind_any_number_of_newer_tasks() {
    let stage = stage().await;
    let mut failing: Vec<Job> = (0..15).map(|_| Job { fails: true, ..Job::default() }).collect();
    failing.extend((0..3).map(|_| Job { jams: true, ..Job::default() }));
    let ids = jobs(&stage, failing).await;
    let worker = stage.worker(quick_worker()).await;
    ended(&stage, 18).await;
    worker.stop().await;
    newer(&stage, 25_000).await;
    // Statistics of before: an estimate would be far off.
    stage.execute("ANALYZE longhaul.task").await;

    let (_, overview) = stage.get("/api/overview").await;
    assert_eq!((&overview["Failed"], &overview["FailedLastHour"]), (&json!(18), &json!(18)), "{overview}");
    let page = text(&stage, "/").await;
    assert!(page.contains("in the last hour, 18 in all") && !page.contains("Nothing failed"), "{page}");
    assert!(page.contains("<b>15</b> broken") && page.contains("<b>3</b> jammed"), "{page}");
    let last: Uuid =
        stage.value("SELECT task_id FROM longhaul.unsuccessful ORDER BY ended_at DESC, task_id DESC LIMIT 1").await;
    assert!(page.contains(&format!("/tasks/job-{last}")), "the last one that failed");

    let (_, all) = stage.get("/api/tasks?state=Failed&limit=10").await;
    assert_eq!((&all["Total"], &all["TotalIsExact"]), (&json!(18), &json!(true)));
    assert_eq!(all["Items"].as_array().expect("items").len(), 10);
    let next = all["Links"][0]["Href"].as_str().expect("an address");
    let (_, rest) = stage.get(next).await;
    assert_eq!((rest["Items"].as_array().expect("items").len(), &rest["Links"]), (8, &json!([])));
    for (query, tasks) in [
        ("state=Failed,Cancelled", 18),
        ("state=Failed&errorCode=jammed", 3),
        ("state=Failed,Cancelled&errorCode=jammed&limit=2", 2),
        ("state=Failed&type=Job&queue=jobs", 18),
        ("state=Failed&type=Other", 0),
        ("state=Failed&createdBy=nobody", 0),
        ("state=Failed&acceptedBefore=2020-01-01T00:00:00Z", 0),
        ("state=Failed&text=printer", 3),
        ("state=Failed&key=x", 0),
        ("state=Cancelled", 0),
    ] {
        let (status, found) = stage.get(&format!("/api/tasks?{query}")).await;
        assert_eq!(status, 200, "{query}: {found}");
        assert_eq!(found["Items"].as_array().expect("items").len(), tasks, "{query}");
        assert_eq!(found["LookedBackTo"], Value::Null, "{query}");
    }
    assert!(text(&stage, "/tasks?state=Failed").await.contains("18 tasks"));
    assert!(text(&stage, "/tasks?state=Failed&code=jammed").await.contains("3 tasks"));
    let (_, mixed) = stage.get("/api/tasks?state=Failed,Succeeded").await;
    assert_eq!((&mixed["Total"], &mixed["TotalIsExact"]), (&json!(25_018), &json!(true)));
    let (_, mixed) = stage.get("/api/tasks?state=Failed,Succeeded&queue=jobs").await;
    assert_eq!(mixed["TotalIsExact"], false);
    let about = mixed["Total"].as_i64().expect("a number");
    assert!((24_000..26_500).contains(&about), "about {about}: the planner knows the states");
    // What is asked is what would be done: of the type, and in a state that can be run again.
    let asked = text(&stage, "/tasks/all?type=Job&deed=retry").await;
    assert!(asked.contains("<b>18</b> tasks match") && !asked.contains("bout"), "{asked}");
    let asked = text(&stage, "/tasks/all?state=Failed&code=jammed&deed=retry").await;
    assert!(asked.contains("<b>3</b> tasks match") && asked.contains("&quot;ErrorCode&quot;: &quot;jammed&quot;"));
    assert!(text(&stage, "/tasks/all?type=Job&deed=cancel").await.contains("No tasks match the filter now."));

    retry(&stage.pool, ids[0]).await.expect("an answer");
    let (_, overview) = stage.get("/api/overview").await;
    assert_eq!(overview["Failed"], 17, "it does not count while it is open");
}

#[tokio::test]
async fn a_confirmation_of_very_many_tasks_says_how_many_there_are_at_least() {
    let stage = stage().await;
    stage.strands_tasks();
    stage
        .execute(
            "WITH stored AS (
             INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, state)
             SELECT longhaul.new_id(), 'Job', 'jobs', 5, 3, 'Queued' FROM generate_series(1, 20500) RETURNING id)
         INSERT INTO longhaul.ready (queue, priority, id) SELECT 'jobs', 5, id FROM stored",
        )
        .await;
    let asked = text(&stage, "/tasks/all?state=Queued&type=Job&deed=cancel").await;
    assert!(asked.contains("At least <b>20,000</b> tasks match"), "{asked}");
    stage.execute("DELETE FROM longhaul.ready WHERE id IN (SELECT id FROM longhaul.ready LIMIT 5000)").await;
    let asked = text(&stage, "/tasks/all?state=Queued&type=Job&deed=cancel").await;
    assert!(asked.contains("<b>15,500</b> tasks match"), "{asked}");
}

/// However many wait, those that run are shown.
#[tokio::test]
async fn what_runs_is_known_in_front_of_any_number_of_waiting_tasks() {
    let stage = stage().await;
    stage.strands_tasks();
    let ids = jobs(&stage, (0..3).map(|_| Job::default()).collect()).await;
    sqlx::query(
        "WITH gone AS (DELETE FROM longhaul.ready), worker AS (
             INSERT INTO longhaul.worker (name, version, queues, slots, heartbeat_ms)
             VALUES ('at work', '0', '{jobs}', 8, 600000) RETURNING id)
         INSERT INTO longhaul.lease (worker_id, number, task_ids) SELECT id, 1, $1 FROM worker",
    )
    .bind(&ids)
    .execute(&stage.pool)
    .await
    .expect("a lease");
    stage
        .execute(
            "WITH stored AS (
             INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, state)
             SELECT longhaul.new_id(), 'Job', 'jobs', 5, 3, 'Queued' FROM generate_series(1, 30000) RETURNING id)
         INSERT INTO longhaul.ready (queue, priority, id) SELECT 'jobs', 5, id FROM stored",
        )
        .await;
    let (_, running) = stage.get("/api/tasks?state=Running").await;
    assert_eq!((&running["Total"], &running["TotalIsExact"]), (&json!(3), &json!(true)));
    let page = text(&stage, "/").await;
    assert!(!page.contains("Nothing runs") && page.contains(&format!("/tasks/job-{}", ids[0])), "{page}");
    let (_, waiting) = stage.get("/api/tasks?state=Queued,Scheduled&limit=1").await;
    assert_eq!(waiting["TotalIsExact"], false);
    let (_, later) = stage.get("/api/tasks?state=Scheduled").await;
    assert_eq!((&later["Total"], &later["TotalIsExact"]), (&json!(0), &json!(true)));
}

/// Each way to end without success, and each way out of it.
#[tokio::test]
async fn every_end_without_success_is_noted_until_its_task_runs_again_or_is_gone() {
    let stage = stage().await;
    let (broken, fails, cancels) = (
        new(&stage, Job { fails: true, ..Job::default() }).await,
        new(&stage, Job::default()).await,
        new(&stage, Job::default()).await,
    );
    let edges = [(&fails, IfFailed::Fail), (&cancels, IfFailed::Cancel)].map(|(task, if_failed)| Dependency {
        task: task.id,
        on: broken.id,
        if_failed,
    });
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    enqueue_linked(&mut transaction, &[broken.clone(), fails, cancels], &edges, None).await.expect("stored");
    transaction.commit().await.expect("a commit");
    let worker = stage.worker(quick_worker()).await;
    ended(&stage, 3).await;
    worker.stop().await;
    assert_eq!(
        recorded_failures(&stage).await,
        [
            row("Cancelled", Some("dependency-failed"), 1),
            row("Failed", Some("broken"), 1),
            row("Failed", Some("dependency-failed"), 1),
        ]
    );

    // Cancelled while it waits.
    let [waits, dies] = jobs(&stage, vec![Job::default(), Job::default()]).await[..] else { panic!("two") };
    cancel(&stage.pool, waits).await.expect("an answer");
    // Its worker died at its last attempt.
    stage
        .execute(format!(
            "WITH gone AS (DELETE FROM longhaul.ready WHERE id = '{dies}'), worker AS (
                 INSERT INTO longhaul.worker (name, version, queues, slots, heartbeat_ms, stopped_at)
                 VALUES ('dead', '0', '{{jobs}}', 1, 1000, now()) RETURNING id), lease AS (
                 INSERT INTO longhaul.lease (worker_id, number, task_ids) SELECT id, 1, ARRAY['{dies}'::uuid] FROM worker)
             UPDATE longhaul.task SET state = 'Running', attempt = max_attempts WHERE id = '{dies}'"
        ))
        .await;
    rescue(&stage.pool).await.expect("a rescue");
    let all = recorded_failures(&stage).await;
    assert!(
        all.contains(&row("Failed", Some("worker-lost"), 1)) && all.contains(&row("Cancelled", None, 1)),
        "{all:?}"
    );

    // Runs again, and with it what ended because of it.
    retry(&stage.pool, broken.id).await.expect("an answer");
    while follow(&stage.pool).await.expect("an answer") > 0 {}
    assert_eq!(recorded_failures(&stage).await, [row("Cancelled", None, 1), row("Failed", Some("worker-lost"), 1)]);
    cancel(&stage.pool, broken.id).await.expect("an answer");
    while follow(&stage.pool).await.expect("an answer") > 0 {}
    // Its time is over.
    let now = Retention {
        succeeded: Duration::ZERO,
        cancelled: Duration::ZERO,
        failed: Duration::ZERO,
        ..Retention::default()
    };
    let all: Vec<Uuid> = stage.value("SELECT array_agg(id) FROM longhaul.task").await;
    assert_eq!(remove_these(&stage.pool, &now, &all).await.expect("removed"), 5);
    assert_eq!(recorded_failures(&stage).await, []);
}

/// A worker of an earlier release ends and removes tasks without noting it.
#[tokio::test]
async fn what_an_earlier_release_did_not_note_is_noted_by_the_repairer() {
    let stage = stage().await;
    let [failed, retried, gone] = jobs(&stage, vec![Job::default(), Job::default(), Job::default()]).await[..] else {
        panic!("three")
    };
    for id in [retried, gone] {
        cancel(&stage.pool, id).await.expect("an answer");
    }
    stage
        .execute(format!(
            "DELETE FROM longhaul.ready;
             UPDATE longhaul.task SET state = 'Failed', attempt = 1, finished_at = now(), error = '{{\"type\": \"urn:x\", \"title\": \"Old\", \"status\": 500, \"detail\": \"Old\", \"code\": \"old\"}}'
              WHERE id = '{failed}';
             UPDATE longhaul.task SET state = 'Succeeded', attempt = 1, fraction = 1 WHERE id = '{retried}';
             DELETE FROM longhaul.task WHERE id = '{gone}';
             DELETE FROM longhaul.successes"
        ))
        .await;
    let now: i64 = stage.value("SELECT (extract(epoch FROM now()) * 1000)::bigint + 6000").await;
    let mut inspection = Inspection::default();
    while !inspection.step(&stage.pool, now, 1).await.expect("a step").done {}
    assert_eq!(recorded_failures(&stage).await, [row("Failed", Some("old"), 1)]);
    let (_, list) = stage.get("/api/tasks?state=Failed,Cancelled").await;
    assert_eq!((&list["Total"], &list["Items"][0]["Id"]), (&json!(1), &json!(format!("job-{failed}"))));
}

#[tokio::test]
async fn a_queue_that_nobody_serves_is_shown_marked_and_can_be_paused() {
    let stage = stage().await;
    let mut tasks = Vec::new();
    for name in ["nobodys", "later", "behind"] {
        let mut task = new(&stage, Job::default()).await;
        task.info.queue = name;
        tasks.push(task);
    }
    tasks[1].run_at = Some("2999-01-01T00:00:00Z".parse().expect("a time"));
    let behind = Dependency { task: tasks[2].id, on: tasks[0].id, if_failed: IfFailed::Run };
    enqueue(&stage.pool, &tasks[..2]).await.expect("stored");
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    enqueue_linked(&mut transaction, &tasks[2..], &[behind], None).await.expect("stored");
    transaction.commit().await.expect("a commit");
    let worker = stage.worker(Settings { queues: vec!["jobs".to_owned()], ..quick_worker() }).await;
    until("the worker to be known", async || (stage.get("/api/queues/jobs").await.1["Workers"] == 1).then_some(()))
        .await;

    let (_, all) = stage.get("/api/queues").await;
    let (_, overview) = stage.get("/api/overview").await;
    let (queues, filter) = (text(&stage, "/queues").await, text(&stage, "/tasks").await);
    let (search, front) = (text(&stage, "/search?q=nobod").await, text(&stage, "/").await);
    for name in ["nobodys", "later", "behind"] {
        for list in [&all["Items"], &overview["Queues"]] {
            let queue = list.as_array().expect("a list").iter().find(|queue| queue["Name"] == name);
            assert_eq!(queue.unwrap_or_else(|| panic!("{name} in {list}"))["Workers"], 0);
        }
        let card = queues.split("<section").find(|card| card.contains(&format!("id=\"q-{name}\""))).expect("a card");
        assert!(card.contains(">no worker<") && card.contains("value=\"pause\""), "{card}");
        assert!(filter.contains(&format!("<option value=\"{name}\">")), "{filter}");
        let line = front.split("<tr>").find(|line| line.contains(&format!("queue={name}&"))).expect("a line");
        assert!(line.contains(">no worker<"), "{line}");
    }
    assert!(search.contains("/queues#q-nobodys"), "{search}");
    let served = queues.split("<section").find(|card| card.contains("id=\"q-jobs\"")).expect("a card");
    assert!(!served.contains("no worker"), "{served}");

    for paused in [true, false] {
        let request = stage.http.patch(format!("{}/api/queues/nobodys", stage.base_url));
        let answer = request.json(&json!({"Paused": paused})).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(
            (&body["Paused"], &body["Held"], &body["Ready"]),
            (&json!(paused), &json!(i32::from(paused)), &json!(i32::from(!paused)))
        );
    }
    worker.stop().await;
    assert_eq!(stage.get("/api/queues/jobs").await.1["Workers"], 0);
    assert_eq!(stage.get("/api/queues/elsewhere").await.0, 404);
    // What has a setting is shown although nothing is in it.
    stage.execute("SELECT longhaul.set_queue('elsewhere', true)").await;
    assert_eq!(stage.get("/api/queues/elsewhere").await.1["Paused"], true);
}

#[tokio::test]
async fn no_more_tasks_run_than_there_are_slots() {
    let stage = stage().await;
    stage.strands_tasks();
    let ids = jobs(&stage, (0..4).map(|_| Job::default()).collect()).await;
    // As a worker does that claims ahead of its free slots.
    sqlx::query(
        "WITH gone AS (DELETE FROM longhaul.ready), worker AS (
             INSERT INTO longhaul.worker (name, version, queues, slots, heartbeat_ms)
             VALUES ('two', '0', '{jobs}', 2, 600000) RETURNING id)
         INSERT INTO longhaul.lease (worker_id, number, task_ids) SELECT id, 1, $1 FROM worker",
    )
    .bind(&ids)
    .execute(&stage.pool)
    .await
    .expect("a lease");
    let (_, overview) = stage.get("/api/overview").await;
    assert_eq!((&overview["Running"], &overview["Slots"]), (&json!(2), &json!(2)));
    assert_eq!(stage.get("/api/queues/jobs").await.1["Running"], 2);
    assert_eq!(stage.get("/api/workers").await.1["Items"][0]["Running"], 2);
    assert!(text(&stage, "/workers").await.contains("1 running, 2 of 2 slots busy"));
}

#[tokio::test]
async fn the_end_of_an_id_that_lists_show_is_found() {
    let stage = stage().await;
    let ids = jobs(&stage, vec![Job::default(), Job::default()]).await;
    let list = text(&stage, "/tasks").await;
    let shown = list.split("class=\"id\">…").nth(1).and_then(|rest| rest.get(..8)).expect("an end");
    let whole = format!("job-{}", ids[1]);
    assert!(whole.ends_with(shown), "{shown} of {whole}, the newest");
    for text_field in [shown.to_owned(), format!("%E2%80%A6{shown}"), shown.to_uppercase()] {
        let (_, found) = stage.get(&format!("/api/tasks?text={text_field}")).await;
        let items = found["Items"].as_array().expect("items");
        assert_eq!((items.len(), &items[0]["Id"]), (1, &json!(whole)), "{text_field}");
    }
    assert!(text(&stage, &format!("/search?q={shown}")).await.contains(&format!("/tasks/{whole}")));
}

#[tokio::test]
async fn what_is_set_aside_is_counted() {
    let stage = stage().await;
    let ids = jobs(&stage, (0..8).map(|_| Job::default()).collect()).await;
    for id in &ids {
        stage
            .execute(format!(
                "INSERT INTO longhaul.set_aside (service, id, error, next_at)
                 VALUES ('promoter', '{id}', 'refused', now() + interval '1 day'),
                        ('retention', '{id}', 'refused', now() + interval '1 day')"
            ))
            .await;
    }
    assert_eq!(stage.get("/api/overview").await.1["SetAside"], 8);
    let page = text(&stage, "/").await;
    assert!(page.contains("Set aside: 8") && page.contains("The first 6 are shown"), "{page}");
}
