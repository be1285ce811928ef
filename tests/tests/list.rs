//! Lists of tasks by filter, of workers, and the overview.

use longhaul::queue_task;
use longhaul_model::problem::ProblemKind;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::queue::{QueueSettings, set};
use longhaul_model::{Outcome, Registry, RunContext, RunError, TaskType};
use longhaul_tests::{Stage, quick_worker, until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

const BROKEN: ProblemKind = ProblemKind { code: "broken", title: "Broken", status: 500 };

/// Fails, waits to be cancelled, or is done at once.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Job {
    fails: bool,
    waits: bool,
    note: String,
}

impl TaskType for Job {
    const NAME: &'static str = "Job";
    const ID_PREFIX: &'static str = "job-";
    const QUEUE: &'static str = "jobs";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        if self.fails {
            return Err(RunError::permanent(BROKEN, "The pump is broken."));
        }
        if self.waits {
            context.cancellation().cancelled().await;
            return Ok(Outcome::Cancelled);
        }
        Ok(Outcome::done())
    }
}

async fn stage() -> Stage {
    Stage::with_registry(queue_task::register(Registry::new().with::<Job>())).await
}

async fn jobs(stage: &Stage, jobs: &[Job]) -> Vec<Uuid> {
    let clock = stage.clock().await;
    let tasks: Vec<NewTask> = jobs.iter().map(|job| NewTask::of(clock.new_id(), job).expect("JSON")).collect();
    enqueue(&stage.pool, &tasks).await.expect("stored");
    tasks.iter().map(|task| task.id).collect()
}

async fn list(stage: &Stage, query: &str) -> Value {
    let (status, body) = stage.get(&format!("/api/tasks?{query}")).await;
    assert_eq!(status, 200, "{query}: {body}");
    body
}

fn ids(page: &Value) -> Vec<String> {
    page["Items"].as_array().expect("items").iter().map(|item| item["Id"].as_str().expect("an id").to_owned()).collect()
}

fn of(ids: &[Uuid]) -> Vec<String> {
    ids.iter().map(|id| format!("job-{id}")).collect()
}

async fn ended(stage: &Stage, count: i64) {
    until("jobs to end", async || {
        let ended: i64 =
            stage.value("SELECT count(*) FROM longhaul.task WHERE state IN ('Succeeded', 'Failed', 'Cancelled')").await;
        (ended >= count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn pages_follow_each_other_newest_first_and_have_every_task_once() {
    let stage = stage().await;
    let mut all = of(&jobs(&stage, &(0..7).map(|_| Job::default()).collect::<Vec<_>>()).await);
    all.reverse();
    let mut seen = Vec::new();
    let mut address = "/api/tasks?limit=3".to_owned();
    loop {
        let (status, page) = stage.get(&address).await;
        assert_eq!(status, 200, "{page}");
        seen.extend(ids(&page));
        match page["Links"][0]["Href"].as_str() {
            Some(next) => address = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, all);
    let page = list(&stage, "limit=7").await;
    assert_eq!((&page["Total"], &page["TotalIsExact"], &page["Links"]), (&json!(7), &json!(true), &json!([])));
}

#[tokio::test]
async fn states_are_those_that_people_see_wherever_a_task_waits_or_runs() {
    let stage = stage().await;
    let [done, broken] = jobs(&stage, &[Job::default(), Job { fails: true, ..Job::default() }]).await[..] else {
        panic!("two")
    };
    let worker = stage.worker(quick_worker()).await;
    ended(&stage, 2).await;
    let running = jobs(&stage, &[Job { waits: true, ..Job::default() }]).await;
    until("the job to run", async || {
        (list(&stage, "state=Running").await["Items"].as_array().expect("items").len() == 1).then_some(())
    })
    .await;
    set(&stage.pool, "jobs", &QueueSettings { paused: true, ..QueueSettings::default() }).await.expect("paused");
    let held = jobs(&stage, &[Job::default()]).await;

    assert_eq!(ids(&list(&stage, "state=Running").await), of(&running));
    assert_eq!(ids(&list(&stage, "state=Queued").await), of(&held));
    assert_eq!(ids(&list(&stage, "state=Succeeded").await), of(&[done]));
    let failed = list(&stage, "state=Failed,Cancelled").await;
    assert_eq!(ids(&failed), of(&[broken]));
    assert_eq!(failed["Items"][0]["LastError"], "The pump is broken.");
    assert_eq!(failed["Items"][0]["Queue"], "jobs");
    assert_eq!(ids(&list(&stage, "state=Running,Failed").await), of(&[running[0], broken]));
    let open = list(&stage, "state=Queued,Running,Scheduled,Retrying").await;
    assert_eq!((&open["Total"], &open["TotalIsExact"]), (&json!(2), &json!(true)));

    let (status, workers) = stage.get("/api/workers").await;
    assert_eq!(
        (status, &workers["Items"][0]["State"], &workers["Items"][0]["Running"]),
        (200, &json!("alive"), &json!(1))
    );
    let (status, overview) = stage.get("/api/overview").await;
    assert_eq!(
        (status, &overview["WorkersAlive"], &overview["Running"], &overview["Held"], &overview["Slots"]),
        (200, &json!(1), &json!(1), &json!(1), &json!(8))
    );
    worker.stop().await;
    let (_, workers) = stage.get("/api/workers").await;
    assert_eq!(workers["Items"][0]["State"], "stopped");
    assert!(workers["Items"][0]["EndedAt"].is_string());
}

#[tokio::test]
async fn filters_narrow_by_type_queue_time_error_and_text() {
    let stage = stage().await;
    let all = jobs(
        &stage,
        &[
            Job { note: "a 100% _match_".to_owned(), ..Job::default() },
            Job { note: "nothing".to_owned(), ..Job::default() },
            Job { fails: true, ..Job::default() },
        ],
    )
    .await;
    let _worker = stage.worker(quick_worker()).await;
    ended(&stage, 3).await;
    assert_eq!(ids(&list(&stage, "type=Job&queue=jobs").await).len(), 3);
    for none in ["type=Reindex", "queue=elsewhere", "createdBy=nobody", "key=x", "text=pineapple", "errorCode=other"] {
        assert_eq!(ids(&list(&stage, none).await), Vec::<String>::new(), "{none}");
    }
    assert_eq!(ids(&list(&stage, "text=100%25%20_MATCH").await), of(&all[..1]), "what a pattern would mean is text");
    assert_eq!(ids(&list(&stage, "text=the%20pump").await), of(&all[2..]));
    assert_eq!(ids(&list(&stage, "errorCode=broken").await), of(&all[2..]));
    assert_eq!(ids(&list(&stage, &format!("text=job-{}", &all[1].to_string()[..36])).await), of(&all[1..2]));
    assert_eq!(
        ids(&list(&stage, "acceptedAfter=2020-01-01T00:00:00Z&acceptedBefore=2020-01-02T00:00:00Z").await).len(),
        0
    );
    assert_eq!(ids(&list(&stage, "acceptedAfter=2020-01-01T00:00:00Z").await).len(), 3);
}

#[tokio::test]
async fn a_guid_that_is_no_task_is_looked_for_in_the_parameters() {
    let stage = stage().await;
    let guid = Uuid::now_v7().to_string();
    let all = jobs(&stage, &[Job { note: guid.clone(), ..Job::default() }, Job::default()]).await;
    assert_eq!(ids(&list(&stage, &format!("text={guid}")).await), of(&all[..1]));
}

#[tokio::test]
async fn wrong_filters_are_refused() {
    let stage = stage().await;
    for query in
        ["state=running", "limit=0", "limit=1001", "after=x", "acceptedAfter=yesterday", "text=%00", "colour=red"]
    {
        let (status, body) = stage.get(&format!("/api/tasks?{query}")).await;
        assert_eq!((status, &body["code"]), (400, &json!("invalid-request")), "{query}");
    }
}
