//! What a caller does to tasks by what it does to one that they hang on.

use longhaul_model::{
    CreateContext, CreateError, Keyring, Outcome, Progress, Registry, Resources, RunContext, RunError, Secret,
    SecretKey, TaskType,
};
use longhaul_tests::{Someone, Stage, keys_only, until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// For whom may start it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Item {}

impl TaskType for Item {
    const NAME: &'static str = "Item";
    const ID_PREFIX: &'static str = "item-";

    async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        context.require("Items/Start")?;
        Ok(Progress::unknown())
    }

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

/// Another one.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Other {}

impl TaskType for Other {
    const NAME: &'static str = "Other";
    const ID_PREFIX: &'static str = "other-";

    async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        context.require("Other/Start")?;
        Ok(Progress::unknown())
    }

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

/// For everyone.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Free {}

impl TaskType for Free {
    const NAME: &'static str = "Free";
    const ID_PREFIX: &'static str = "free-";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

/// The same, with something secret.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Locked {
    password: Secret<String>,
    #[serde(default)]
    pin: Option<Secret<u32>>,
}

impl TaskType for Locked {
    const NAME: &'static str = "Locked";
    const ID_PREFIX: &'static str = "locked-";

    async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        context.require("Locked/Start")?;
        Ok(Progress::unknown())
    }

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

pub(crate) async fn stage() -> Stage {
    let keyring = Keyring::new(SecretKey::parse(&"a".repeat(64)).expect("a key"), Vec::new());
    let registry = Registry::new().with::<Item>().with::<Other>().with::<Free>().with::<Locked>();
    Stage::builder(longhaul::queue_task::register(registry))
        .resources(Resources::new().with(keyring))
        .authenticators(keys_only)
        .start()
        .await
}

pub(crate) const START: &str = "Items/Start";

/// Lets ends be followed until a task is in this state, as a worker would.
pub(crate) async fn in_state(stage: &Stage, who: &Someone<'_>, path: &str, state: &str) {
    until(&format!("{path} to be {state}"), async || {
        sqlx::query("SELECT longhaul.follow()").execute(&stage.pool).await.expect("followed");
        let (_, body) = who.ask("GET", path, None).await;
        (body["State"] == state).then_some(())
    })
    .await;
}

/// What was written down: who, deed and target.
async fn deeds(stage: &Stage, deed: &str) -> Vec<(String, String)> {
    sqlx::query_as("SELECT who, target FROM longhaul.audit WHERE deed = $1 ORDER BY target")
        .bind(deed)
        .fetch_all(&stage.pool)
        .await
        .expect("the audit")
}

/// Starts a batch of two; its parent's path, and the ids of all.
pub(crate) async fn batch(who: &Someone<'_>) -> (String, Vec<String>) {
    let tasks = json!([{"Type": "Item"}, {"Type": "Item"}]);
    let (status, body) =
        who.ask("POST", "/api/backgroundtasks/batch", Some(&json!({"Parent": {}, "Tasks": tasks}))).await;
    assert_eq!(status, 202, "{body}");
    let id = |body: &Value| body["Id"].as_str().expect("an id").to_owned();
    let mut ids: Vec<String> = body["Tasks"].as_array().expect("tasks").iter().map(id).collect();
    let parent = id(&body["Parent"]);
    ids.push(parent.clone());
    ids.sort();
    (format!("/api/backgroundtask/{parent}"), ids)
}

#[tokio::test]
async fn a_batch_is_not_run_again_with_what_its_caller_may_no_longer_start() {
    let stage = stage().await;
    let owner = stage.someone("owner", &[START]).await;
    let (parent, ids) = batch(&owner).await;
    assert_eq!(owner.ask("DELETE", &parent, None).await.0, 202);
    in_state(&stage, &owner, &parent, "Cancelled").await;
    let all: Vec<(String, String)> = ids.iter().map(|id| ("key:owner".to_owned(), id.clone())).collect();
    assert_eq!(deeds(&stage, "cancelTask").await, all, "each is written down");

    sqlx::query("UPDATE longhaul.api_key SET permissions = '{}' WHERE name = 'owner'")
        .execute(&stage.pool)
        .await
        .expect("withdrawn");
    let weak = stage.someone("owner", &[]).await;
    let (status, body) = weak.ask("POST", &format!("{parent}/retry"), None).await;
    assert_eq!((status, body["code"].as_str()), (403, Some("forbidden")), "{body}");
    let (_, body) = weak.ask("GET", &parent, None).await;
    assert_eq!(body["State"], "Cancelled");
    assert_eq!(deeds(&stage, "retryTask").await, []);

    let strong = stage.someone("owner", &[START]).await;
    assert_eq!(strong.ask("POST", &format!("{parent}/retry"), None).await.0, 202);
    assert_eq!(deeds(&stage, "retryTask").await, all, "each is written down");
}

#[tokio::test]
async fn running_a_task_again_leaves_those_of_others_that_waited_for_it() {
    let stage = stage().await;
    let (low, admin) = (stage.someone("low", &[START]).await, stage.someone("admin", &["*"]).await);
    let first = low.started(&json!({"Type": "Item", "DelaySeconds": 3600})).await;
    let after = |path: &str| json!({"Type": "Item", "After": [path.rsplit('/').next().expect("an id")]});
    let own = low.started(&after(&first)).await;
    let foreign = admin.started(&after(&first)).await;
    // Reached through the other's only, and through both.
    let behind = admin.started(&after(&foreign)).await;
    let beside = admin.started(&after(&own)).await;
    assert_eq!(low.ask("GET", &foreign, None).await.0, 404);
    assert_eq!(low.ask("DELETE", &first, None).await.0, 200);
    for path in [&own, &foreign, &behind, &beside] {
        in_state(&stage, &admin, path, "Cancelled").await;
    }

    let (status, body) = low.ask("POST", &format!("{first}/retry"), None).await;
    assert_eq!(status, 202, "{body}");
    assert!(!body.to_string().contains(&foreign[foreign.len() - 36..]), "{body}");
    for (path, state) in
        [(&first, "Queued"), (&own, "Queued"), (&foreign, "Cancelled"), (&behind, "Cancelled"), (&beside, "Cancelled")]
    {
        assert_eq!(admin.ask("GET", path, None).await.1["State"], state, "{path}");
    }
    let ids = |paths: &[&String]| {
        let mut ids: Vec<String> =
            paths.iter().map(|path| path.rsplit('/').next().expect("an id").to_owned()).collect();
        ids.sort();
        ids
    };
    let noted = async || deeds(&stage, "retryTask").await.into_iter().map(|(_, target)| target).collect::<Vec<_>>();
    assert_eq!(noted().await, ids(&[&first, &own]));

    // Whoever manages tasks of others runs the rest again, which goes on as usual.
    assert_eq!(admin.ask("POST", &format!("{foreign}/retry"), None).await.0, 202);
    assert_eq!(admin.ask("GET", &behind, None).await.1["State"], "Queued");
    assert_eq!(noted().await, ids(&[&first, &own, &foreign, &behind]));
    let _worker = stage.worker(longhaul_tests::quick_worker()).await;
    for path in [&first, &own, &foreign, &behind] {
        in_state(&stage, &admin, path, "Succeeded").await;
    }
}

#[tokio::test]
async fn running_a_task_again_leaves_what_its_caller_may_no_longer_start() {
    let stage = stage().await;
    let owner = stage.someone("owner", &[START, "Other/Start"]).await;
    let first = owner.started(&json!({"Type": "Item", "DelaySeconds": 3600})).await;
    let id = first.rsplit('/').next().expect("an id").to_owned();
    let waiting = owner.started(&json!({"Type": "Other", "After": [id]})).await;
    let behind = owner.started(&json!({"Type": "Item", "After": [waiting.rsplit('/').next().expect("an id")]})).await;
    assert_eq!(owner.ask("DELETE", &first, None).await.0, 200);
    for path in [&waiting, &behind] {
        in_state(&stage, &owner, path, "Cancelled").await;
    }
    sqlx::query("UPDATE longhaul.api_key SET permissions = '{Items/Start}' WHERE name = 'owner'")
        .execute(&stage.pool)
        .await
        .expect("withdrawn");
    let weaker = stage.someone("owner", &[START]).await;
    assert_eq!(weaker.ask("POST", &format!("{first}/retry"), None).await.0, 202);
    for (path, state) in [(&first, "Queued"), (&waiting, "Cancelled"), (&behind, "Cancelled")] {
        assert_eq!(weaker.ask("GET", path, None).await.1["State"], state, "{path}");
    }
    let (status, body) = weaker.ask("POST", &format!("{waiting}/retry"), None).await;
    assert_eq!((status, body["code"].as_str()), (403, Some("forbidden")), "{body}");
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("Other/Start")), "{body}");
}

#[tokio::test]
async fn a_batch_with_a_part_of_someone_else_is_refused_with_the_reason() {
    let stage = stage().await;
    let owner = stage.someone("owner", &[START]).await;
    let (parent, ids) = batch(&owner).await;
    assert_eq!(owner.ask("DELETE", &parent, None).await.0, 202);
    in_state(&stage, &owner, &parent, "Cancelled").await;
    let part = ids.iter().find(|id| !parent.ends_with(id.as_str())).expect("a part").clone();
    sqlx::query("UPDATE longhaul.task SET created_by = 'key:admin' WHERE id = $1::uuid")
        .bind(&part[part.len() - 36..])
        .execute(&stage.pool)
        .await
        .expect("someone else's");
    let (status, body) = owner.ask("POST", &format!("{parent}/retry"), None).await;
    assert_eq!((status, body["code"].as_str()), (403, Some("forbidden")), "{body}");
    let detail = body["detail"].as_str().expect("a detail");
    assert!(detail.contains("A child of this batch") && detail.contains("Administration/Tasks/Manage"), "{detail}");
    assert!(!detail.contains(&part), "{detail}");
    assert_eq!(owner.ask("GET", &parent, None).await.1["State"], "Cancelled");
}

/// A caller whose permissions are for some projects runs its own batch again.
#[tokio::test]
async fn a_batch_is_run_again_by_who_may_start_its_parts_in_some_project() {
    let stage = stage().await;
    let limited = stage.someone_in("limited", &[START], Some(&[uuid::Uuid::nil()])).await;
    let owner = stage.someone("limited", &[START]).await;
    let (parent, _) = batch(&owner).await;
    assert_eq!(owner.ask("DELETE", &parent, None).await.0, 202);
    in_state(&stage, &owner, &parent, "Cancelled").await;
    let (status, body) = limited.ask("POST", &format!("{parent}/retry"), None).await;
    assert_eq!((status, body["code"].as_str()), (403, Some("forbidden")), "its parts: {body}");
    sqlx::query("UPDATE longhaul.task SET type = 'Free' WHERE type = 'Item'")
        .execute(&stage.pool)
        .await
        .expect("changed");
    let (status, body) = limited.ask("POST", &format!("{parent}/retry"), None).await;
    assert_eq!(status, 202, "{body}");
}

#[tokio::test]
async fn each_task_that_many_at_once_reach_is_written_down() {
    let stage = stage().await;
    let (owner, admin) = (stage.someone("owner", &[START]).await, stage.someone("admin", &["*"]).await);
    let single = owner.started(&json!({"Type": "Item", "DelaySeconds": 3600})).await;
    let waiting = admin.started(&json!({"Type": "Item", "After": [single.rsplit('/').next().expect("an id")]})).await;
    let (parent, parts) = batch(&owner).await;
    let mut all: Vec<String> = parts;
    all.push(single.rsplit('/').next().expect("an id").to_owned());
    all.sort();
    let settings = longhaul_worker::Settings {
        queues: vec![longhaul::queue_task::QUEUE.to_owned()],
        ..longhaul_tests::quick_worker()
    };
    let _worker = stage.worker(settings).await;
    let through = |path: &str| path.rsplit('/').next().expect("an id").to_owned();
    let noted = async |deed: &str| -> Vec<(String, String, String)> {
        sqlx::query_as("SELECT who, target, details ->> 'Through' FROM longhaul.audit WHERE deed = $1 ORDER BY target")
            .bind(deed)
            .fetch_all(&stage.pool)
            .await
            .expect("the audit")
    };
    let rows = |who: &str, targets: &[String], through: &str| -> Vec<(String, String, String)> {
        targets.iter().map(|target| (who.to_owned(), target.clone(), through.to_owned())).collect()
    };

    // The parts of the batch are reached by the filter and through their parent.
    let cancel = owner.started(&json!({"Type": "CancelTasks", "Parameters": {"CreatedBy": "key:owner"}})).await;
    in_state(&stage, &owner, &cancel, "Succeeded").await;
    in_state(&stage, &owner, &parent, "Cancelled").await;
    in_state(&stage, &admin, &waiting, "Cancelled").await;
    // What waited for one of them, through that one.
    let mut expected = rows("key:owner", &all, &through(&cancel));
    expected.push(("key:owner".to_owned(), through(&waiting), through(&single)));
    expected.sort();
    let mut cancelled = noted("cancelTask").await;
    cancelled.sort();
    cancelled.dedup();
    assert_eq!(cancelled, expected);

    let retry = admin
        .started(&json!({"Type": "RetryTasks", "Parameters": {"CreatedBy": "key:owner", "Types": ["Item", "Batch"]}}))
        .await;
    in_state(&stage, &admin, &retry, "Succeeded").await;
    all.push(through(&waiting));
    all.sort();
    assert_eq!(noted("retryTask").await, rows("key:admin", &all, &through(&retry)), "and what waited for one");
}

#[tokio::test]
async fn a_schedule_of_a_type_with_secrets_asks_for_its_permission() {
    let stage = stage().await;
    let author = stage.someone("author", &["Administration/Schedules/*"]).await;
    let entitled = stage.someone("entitled", &["Administration/Schedules/*", "Locked/Start"]).await;
    // A secret that is no text is not what is shown of it.
    let parameters = json!({"password": "p", "pin": 4711});
    let schedule = json!({"Name": "a", "Cron": "0 0 * * *", "Type": "Locked", "Parameters": parameters});
    let (status, body) = author.ask("POST", "/api/schedules", Some(&schedule)).await;
    assert_eq!((status, body["code"].as_str()), (403, Some("forbidden")), "{body}");
    assert_eq!(author.ask("PUT", "/api/schedules/a", Some(&schedule)).await.0, 403);
    assert_eq!(entitled.ask("POST", "/api/schedules", Some(&schedule)).await.0, 201);
    assert_eq!(author.ask("POST", "/api/schedules/a/run", None).await.0, 403);
    assert_eq!(author.ask("POST", "/api/schedules/a/pause", None).await.0, 200);
    assert_eq!(author.ask("POST", "/api/schedules/a/resume", None).await.0, 403);
    let (_, body) = author.ask("GET", "/api/schedules/a", None).await;
    assert_eq!(body["State"], "paused");
    assert_eq!(entitled.ask("POST", "/api/schedules/a/resume", None).await.0, 200);
    assert_eq!(entitled.ask("POST", "/api/schedules/a/run", None).await.0, 202);
}
