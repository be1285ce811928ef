//! Whose tasks are whose, and who may do what with them.

use longhaul_model::{Outcome, Registry, RunContext, RunError, TaskType};
use longhaul_tests::{Someone, Stage, fill_project, keys_only, quick_worker, shipped, until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

/// Only one of it may be open.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Single {}

impl TaskType for Single {
    const NAME: &'static str = "Single";
    const ID_PREFIX: &'static str = "single-";

    fn unique_key(&self) -> Option<String> {
        Some("the one".to_owned())
    }

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

fn registry() -> Registry {
    longhaul::queue_task::register(shipped::registry().with::<Single>())
}

async fn stage() -> Stage {
    Stage::builder(registry()).authenticators(keys_only).start().await
}

const REINDEX: &str = "Administration/SearchIndex/Rebuild";
const MINE: Uuid = uuid!("11111111-1111-4111-8111-111111111111");
const OTHERS: Uuid = uuid!("22222222-2222-4222-8222-222222222222");
const NOBODYS: Uuid = uuid!("33333333-3333-4333-8333-333333333333");

/// What an answer says, whichever task was asked for.
fn words(answer: (u16, Value), id: &str) -> (u16, String) {
    let (status, mut body) = answer;
    if let Some(members) = body.as_object_mut() {
        members.remove("traceId");
    }
    (status, body.to_string().replace(id, "ID"))
}

#[tokio::test]
async fn a_task_of_someone_else_is_not_there_whatever_one_asks_of_it() {
    let stage = stage().await;
    let (owner, other) = (stage.someone("owner", &[REINDEX]).await, stage.someone("other", &[REINDEX]).await);
    let there = owner.started(&json!({"Type": "Reindex"})).await;
    let never = "/api/backgroundtask/reindex-0190c0de-0000-7000-8000-000000000000".to_owned();
    let mut asked = 0;
    for (path, item) in stage.openapi["paths"].as_object().expect("paths") {
        let Some(rest) = path.strip_prefix("/api/backgroundtask/{id}") else { continue };
        for method in item.as_object().expect("operations").keys().filter(|method| *method != "head") {
            let method = method.to_uppercase();
            let [id, unknown] = [&there, &never].map(|address| address.rsplit('/').next().expect("an id"));
            let answer = words(other.ask(&method, &format!("{there}{rest}"), None).await, id);
            assert_eq!(answer.0, 404, "{method} {path}");
            let of_none = words(other.ask(&method, &format!("{never}{rest}"), None).await, unknown);
            assert_eq!(answer, of_none, "{method} {path}");
            asked += 1;
        }
    }
    assert!(asked >= 6, "{asked} operations on a task");
    assert_eq!(owner.ask("GET", &there, None).await.0, 200);
    assert_eq!(owner.ask("DELETE", &there, None).await.0, 200);
}

#[tokio::test]
async fn those_who_may_see_tasks_of_others_can_not_cancel_them_and_those_who_manage_them_can() {
    let stage = stage().await;
    let owner = stage.someone("owner", &[REINDEX]).await;
    let viewer = stage.someone("viewer", &["Administration/Tasks/View"]).await;
    let manager = stage.someone("manager", &["Administration/Tasks/Manage"]).await;
    let task = owner.started(&json!({"Type": "Reindex"})).await;
    assert_eq!(viewer.ask("GET", &task, None).await.0, 200);
    let (status, body) = viewer.ask("DELETE", &task, None).await;
    assert_eq!((status, body["code"].as_str()), (403, Some("forbidden")));
    assert_eq!(viewer.ask("POST", &format!("{task}/retry"), None).await.0, 403);
    assert_eq!(manager.ask("GET", &task, None).await.0, 404);
    let (status, body) = manager.ask("DELETE", &task, None).await;
    assert_eq!((status, body["State"].as_str()), (200, Some("Cancelled")));
    assert_eq!(manager.ask("POST", &format!("{task}/retry"), None).await.0, 202);
}

#[tokio::test]
async fn another_key_of_the_same_name_is_the_same_caller() {
    let stage = stage().await;
    let (old, new) = (stage.someone("ci", &[REINDEX]).await, stage.someone("ci", &[REINDEX]).await);
    let task = old.started(&json!({"Type": "Reindex"})).await;
    assert_eq!(new.ask("GET", &task, None).await.0, 200);
}

#[tokio::test]
async fn an_idempotency_key_is_the_callers_own() {
    let stage = stage().await;
    let (one, other) = (stage.someone("one", &[REINDEX]).await, stage.someone("other", &[REINDEX]).await);
    let start = async |who: &Someone<'_>| {
        let request = who.request("POST", "/api/backgroundtasks").header("Idempotency-Key", "k");
        let response = request.json(&json!({"Type": "Reindex"})).send().await.expect("an answer");
        response.json::<Value>().await.expect("JSON")["Id"].clone()
    };
    let (first, others) = (start(&one).await, start(&other).await);
    assert_ne!(first, others);
    assert_eq!(start(&one).await, first);
}

#[tokio::test]
async fn a_permission_for_a_project_does_not_tell_which_projects_there_are() {
    let stage = stage().await;
    fill_project(&stage.pool, MINE, 1).await;
    fill_project(&stage.pool, OTHERS, 1).await;
    let caller = stage.someone_in("caller", &["Administration/*", "TestManagement/*"], Some(&[MINE])).await;
    let start = async |type_name: &str, parameters: Value| {
        let (status, body) = caller.start(&json!({"Type": type_name, "Parameters": parameters})).await;
        (status, body["code"].as_str().unwrap_or_default().to_owned(), body["detail"].to_string())
    };
    assert_eq!(start("Reindex", json!({"ProjectId": MINE})).await.0, 202);
    let forbidden = |answer: (u16, String, String)| assert_eq!((answer.0, answer.1.as_str()), (403, "forbidden"));
    for project in [OTHERS, NOBODYS] {
        forbidden(start("Reindex", json!({"ProjectId": project})).await);
        forbidden(start("DeleteProject", json!({"ProjectId": project})).await);
        forbidden(start("SyncIncidents", json!({"ProjectId": project})).await);
        let parameters = json!({"ProjectId": project, "Content": "<testsuites/>"});
        forbidden(start("AutomatedTestImport", parameters).await);
        let (status, body) = caller.ask("GET", &format!("/api/search?q=own1&project={project}"), None).await;
        assert_eq!((status, body["code"].as_str()), (404, Some("unknown-project")));
    }
    forbidden(start("Reindex", json!({})).await);
    forbidden(start("GenerateTestProject", json!({"Entities": 1})).await);
    assert_eq!(caller.ask("GET", "/api/search?q=own1", None).await.0, 403);
    assert_eq!(caller.ask("GET", &format!("/api/search?q=own1&project={MINE}"), None).await.0, 200);

    // Of records of another project it is not told that they are there.
    let (run, step) = (Uuid::now_v7(), Uuid::now_v7());
    for (project, run) in [(OTHERS, run), (MINE, Uuid::now_v7())] {
        sqlx::query("INSERT INTO records.agile_run (id, project_id, name) VALUES ($1, $2, 'r')")
            .bind(run)
            .bind(project)
            .execute(&stage.pool)
            .await
            .expect("an agile run");
    }
    let link = async |run: Uuid| {
        let answer = start("LinkTicketToAgileRunStep", json!({"AgileRunId": run, "StepId": step, "Key": "T-1"})).await;
        (answer.0, answer.1, answer.2.replace(&run.to_string(), "RUN"))
    };
    assert_eq!(link(run).await, link(Uuid::now_v7()).await);
    assert_eq!(link(run).await.1, "unknown-agile-run");
}

#[tokio::test]
async fn a_schedule_starts_nothing_that_its_author_could_not_start() {
    let stage = stage().await;
    let author = stage.someone("author", &["Administration/Schedules/Edit", REINDEX]).await;
    let schedule = |name: &str, type_name: &str, parameters: Value| json!({"Name": name, "Cron": "0 0 * * *", "Type": type_name, "Parameters": parameters});
    let delete = schedule("a", "DeleteProject", json!({"ProjectId": MINE}));
    let (status, body) = author.ask("POST", "/api/schedules", Some(&delete)).await;
    assert_eq!((status, body["code"].as_str()), (403, Some("forbidden")), "{body}");
    assert_eq!(author.ask("PUT", "/api/schedules/a", Some(&delete)).await.0, 403);
    let reindex = schedule("a", "Reindex", json!({}));
    assert_eq!(author.ask("POST", "/api/schedules", Some(&reindex)).await.0, 201);
    // Whether there is such a project now is not the point.
    let of_none = schedule("b", "Reindex", json!({"ProjectId": NOBODYS}));
    assert_eq!(author.ask("POST", "/api/schedules", Some(&of_none)).await.0, 201);
}

#[tokio::test]
async fn a_unique_task_of_someone_else_is_not_shown() {
    let stage = stage().await;
    let (one, other) = (stage.someone("one", &[]).await, stage.someone("other", &[]).await);
    let viewer = stage.someone("viewer", &["Administration/Tasks/View"]).await;
    let single = json!({"Type": "Single"});
    let first = one.started(&single).await;
    assert_eq!(one.started(&single).await, first);
    assert_eq!(viewer.started(&single).await, first);
    let (status, body) = other.start(&single).await;
    assert_eq!((status, body["code"].as_str()), (409, Some("unique-task-exists")));
    assert!(!body.to_string().contains("single-"), "{body}");
    let batch = json!({"Tasks": [single]});
    let (status, body) = other.ask("POST", "/api/backgroundtasks/batch", Some(&batch)).await;
    assert_eq!((status, body["code"].as_str()), (409, Some("unique-task-exists")));
    assert_eq!(one.ask("POST", "/api/backgroundtasks/batch", Some(&batch)).await.0, 202);
}

#[tokio::test]
async fn a_schedule_that_finds_a_unique_task_of_someone_else_does_not_show_it() {
    let stage = stage().await;
    let owner = stage.someone("owner", &[]).await;
    let author = stage.someone("author", &["Administration/Schedules/Edit"]).await;
    let viewer = stage.someone("viewer", &["Administration/Schedules/Edit", "Administration/Tasks/View"]).await;
    let schedule = json!({"Name": "a", "Cron": "0 0 * * *", "Type": "Single"});
    assert_eq!(author.ask("POST", "/api/schedules", Some(&schedule)).await.0, 201);
    let task = owner.started(&json!({"Type": "Single"})).await;
    let (status, body) = author.ask("POST", "/api/schedules/a/run", None).await;
    assert_eq!((status, body["code"].as_str()), (409, Some("unique-task-exists")), "{body}");
    assert!(!body.to_string().contains(&task[task.len() - 36..]), "{body}");
    let (status, body) = viewer.ask("POST", "/api/schedules/a/run", None).await;
    assert_eq!(status, 202, "{body}");
    assert_eq!(owner.ask("DELETE", &task, None).await.0, 200);
    assert_eq!(author.ask("POST", "/api/schedules/a/run", None).await.0, 202);
}

#[tokio::test]
async fn nobody_waits_for_a_task_that_it_may_not_see() {
    let stage = stage().await;
    let (one, other) = (stage.someone("one", &[REINDEX]).await, stage.someone("other", &[REINDEX]).await);
    let task = one.started(&json!({"Type": "Reindex"})).await;
    let after = |task: &str| json!({"Type": "Reindex", "After": [task.rsplit('/').next().expect("an id")]});
    let never = "reindex-0190c0de-0000-7000-8000-000000000000";
    let told = async |task: &str, batch: bool| {
        let request = if batch { json!({"Tasks": [after(task)]}) } else { after(task) };
        let path = if batch { "/api/backgroundtasks/batch" } else { "/api/backgroundtasks" };
        let guid = &task[task.len() - 36..];
        words(other.ask("POST", path, Some(&request)).await, guid)
    };
    for batch in [false, true] {
        assert_eq!(told(&task, batch).await, told(never, batch).await);
        assert_eq!(told(&task, batch).await.0, 400);
    }
    let waiting = one.started(&after(&task)).await;
    let (_, body) = one.ask("GET", &format!("{waiting}/dependencies"), None).await;
    assert_eq!(body["After"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn many_tasks_at_once_are_cancelled_by_their_own_caller_or_by_a_manager() {
    let stage = stage().await;
    let _worker = stage
        .worker(longhaul_worker::Settings { queues: vec![longhaul::queue_task::QUEUE.to_owned()], ..quick_worker() })
        .await;
    let owner = stage.someone("owner", &[REINDEX]).await;
    let other = stage.someone("other", &[]).await;
    let task = owner.started(&json!({"Type": "Reindex", "DelaySeconds": 3600})).await;
    let all_of_owner = json!({"Type": "CancelTasks", "Parameters": {"CreatedBy": "key:owner"}});
    assert_eq!(other.start(&all_of_owner).await.0, 403);
    assert_eq!(owner.start(&json!({"Type": "CancelTasks", "Parameters": {"Types": ["Reindex"]}})).await.0, 403);
    owner.started(&all_of_owner).await;
    until("the task to be cancelled", async || {
        let (_, body) = owner.ask("GET", &task, None).await;
        (body["State"] == "Cancelled").then_some(())
    })
    .await;
}

const VIEW_RECORDS: &str = "TestManagement/Records/View";
const EDIT_TESTS: &str = "TestManagement/ManageAutomatedTests/Edit";

#[tokio::test]
async fn a_file_is_used_by_who_uploaded_it_and_by_administrators() {
    let stage = stage().await;
    fill_project(&stage.pool, MINE, 1).await;
    let ada = stage.someone("ada", &[EDIT_TESTS, VIEW_RECORDS]).await;
    let bob = stage.someone("bob", &[EDIT_TESTS, VIEW_RECORDS]).await;
    let admin = stage.someone("admin", &[EDIT_TESTS, VIEW_RECORDS, "Administration/Uploads/Manage"]).await;
    let request = ada.request("POST", "/api/upload?name=a.xml").header("content-type", "application/octet-stream");
    let response = request.body("<testsuites/>").send().await.expect("an answer");
    assert_eq!(response.status(), 201);
    let file: Value = response.json().await.expect("JSON");
    let (id, never) = (file["Id"].as_str().expect("an id").to_owned(), Uuid::now_v7().to_string());
    let import = |id: &str| json!({"Type": "AutomatedTestImport", "Parameters": {"ProjectId": MINE, "UploadId": id}});
    let told = words(bob.start(&import(&id)).await, &id);
    assert!(told.1.contains("unknown-upload"), "{told:?}");
    assert_eq!(told, words(bob.start(&import(&never)).await, &never));
    for method in ["GET", "DELETE"] {
        let told = words(bob.ask(method, &format!("/api/upload/{id}"), None).await, &id);
        assert_eq!(told.0, 404, "{method}");
        assert_eq!(told, words(bob.ask(method, &format!("/api/upload/{never}"), None).await, &never));
    }
    for (who, files) in [(&ada, 1), (&bob, 0), (&admin, 1)] {
        let (status, list) = who.ask("GET", "/api/uploads", None).await;
        assert_eq!((status, list["Items"].as_array().map(Vec::len)), (200, Some(files)), "{list}");
    }
    ada.started(&import(&id)).await;
    admin.started(&import(&id)).await;
    assert_eq!(ada.ask("DELETE", &format!("/api/upload/{id}"), None).await.0, 204);
}

#[tokio::test]
async fn a_caller_stores_so_many_files_and_no_more() {
    let stage = stage().await;
    let (ada, bob) =
        (stage.someone("ada", &[EDIT_TESTS, VIEW_RECORDS]).await, stage.someone("bob", &[EDIT_TESTS]).await);
    sqlx::query(
        "INSERT INTO records.upload (id, name, content, created_by)
         SELECT gen_random_uuid(), 'a', 'x', 'key:ada' FROM generate_series(1, 999)",
    )
    .execute(&stage.pool)
    .await
    .expect("stored");
    let upload = async |who: &Someone<'_>| {
        let request = who.request("POST", "/api/upload?name=a.xml").header("content-type", "application/octet-stream");
        let response = request.body("<testsuites/>").send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    let (status, file) = upload(&ada).await;
    assert_eq!(status, 201);
    let (status, body) = upload(&ada).await;
    assert_eq!((status, body["code"].as_str()), (409, Some("too-many-uploads")), "{body}");
    assert_eq!(upload(&bob).await.0, 201);
    let path = format!("/api/upload/{}", file["Id"].as_str().expect("an id"));
    assert_eq!(ada.ask("DELETE", &path, None).await.0, 204);
    assert_eq!(upload(&ada).await.0, 201);
}

#[tokio::test]
async fn a_schedule_reads_no_file_that_who_makes_or_runs_it_could_not_use() {
    const EDIT_SCHEDULES: &str = "Administration/Schedules/Edit";
    let stage = stage().await;
    fill_project(&stage.pool, MINE, 1).await;
    let ada = stage.someone("ada", &[EDIT_TESTS, EDIT_SCHEDULES]).await;
    let bob = stage.someone("bob", &[EDIT_TESTS, EDIT_SCHEDULES]).await;
    let request = ada.request("POST", "/api/upload?name=a.xml").header("content-type", "application/octet-stream");
    let file: Value = request.body("<testsuites/>").send().await.expect("an answer").json().await.expect("JSON");
    let (id, never) = (file["Id"].as_str().expect("an id").to_owned(), Uuid::now_v7().to_string());
    let schedule = |name: &str, id: &str| {
        json!({"Name": name, "Cron": "0 0 * * *", "Type": "AutomatedTestImport",
               "Parameters": {"ProjectId": MINE, "UploadId": id}})
    };
    let told = words(bob.ask("POST", "/api/schedules", Some(&schedule("b", &id))).await, &id);
    assert!(told.1.contains("unknown-upload"), "{told:?}");
    assert_eq!(told, words(bob.ask("POST", "/api/schedules", Some(&schedule("b", &never))).await, &never));
    assert!(
        words(bob.ask("PUT", "/api/schedules/b", Some(&schedule("b", &id))).await, &id).1.contains("unknown-upload")
    );
    assert_eq!(ada.ask("POST", "/api/schedules", Some(&schedule("a", &id))).await.0, 201);
    assert!(words(bob.ask("POST", "/api/schedules/a/run", None).await, &id).1.contains("unknown-upload"));
    assert_eq!(bob.ask("POST", "/api/schedules/a/pause", None).await.0, 200);
    assert!(words(bob.ask("POST", "/api/schedules/a/resume", None).await, &id).1.contains("unknown-upload"));
    assert_eq!(ada.ask("POST", "/api/schedules/a/resume", None).await.0, 200);
    assert_eq!(ada.ask("POST", "/api/schedules/a/run", None).await.0, 202);
}

#[tokio::test]
async fn who_may_see_records_of_some_projects_sees_those_in_lists() {
    let stage = stage().await;
    let mut ids = Vec::new();
    for project in [MINE, OTHERS] {
        fill_project(&stage.pool, project, 1).await;
        let made: Vec<Uuid> = sqlx::query_scalar(
            "WITH run AS (INSERT INTO records.agile_run (id, project_id, name) VALUES (gen_random_uuid(), $1, 'r') RETURNING id),
                  script AS (INSERT INTO records.script_assignment (id, project_id, name) VALUES (gen_random_uuid(), $1, 's') RETURNING id),
                  test AS (INSERT INTO records.automated_test_run (id, project_id, name) VALUES (gen_random_uuid(), $1, 't') RETURNING id),
                  node AS (INSERT INTO records.result_node (id, automated_test_run_id, position, kind, name)
                           SELECT gen_random_uuid(), id, 0, 'Suite', 'n' FROM test RETURNING id)
             SELECT id FROM run UNION ALL SELECT id FROM script UNION ALL SELECT id FROM test UNION ALL SELECT id FROM node",
        )
        .bind(project)
        .fetch_all(&stage.pool)
        .await
        .expect("records");
        ids.push(made);
    }
    let everywhere = stage.someone("everywhere", &[VIEW_RECORDS]).await;
    let here = stage.someone_in("here", &[VIEW_RECORDS], Some(&[MINE])).await;
    let elsewhere = stage.someone_in("elsewhere", &[VIEW_RECORDS], Some(&[NOBODYS])).await;
    let kinds = [
        ("agilerun", "agileruns"),
        ("scriptassignment", "scriptassignments"),
        ("automatedtestrun", "automatedtestruns"),
        ("resultnode", "resultnodes"),
    ];
    for (at, (one, many)) in kinds.into_iter().enumerate() {
        let listed = async |who: &Someone<'_>, query: &str| {
            let (status, list) = who.ask("GET", &format!("/api/{many}{query}"), None).await;
            assert_eq!(status, 200, "{list}");
            let items = list["Items"].as_array().expect("items").iter();
            items.map(|item| item["Id"].as_str().expect("an id").parse().expect("a guid")).collect::<Vec<Uuid>>()
        };
        assert_eq!(listed(&everywhere, "").await.len(), 2, "{many}");
        assert_eq!(listed(&here, "").await, [ids[0][at]], "{many}");
        assert_eq!(listed(&elsewhere, "").await, [] as [Uuid; 0], "{many}");
        if at < 3 {
            assert_eq!(listed(&here, &format!("?project={OTHERS}")).await, [] as [Uuid; 0], "{many}");
        }
        let [own, other] = [0, 1].map(|project: usize| ids[project][at]);
        assert_eq!(here.ask("GET", &format!("/api/{one}/{own}"), None).await.0, 200, "{one}");
        let told = words(here.ask("GET", &format!("/api/{one}/{other}"), None).await, &other.to_string());
        assert_eq!(told.0, 404, "{one}");
        assert_eq!(told, words(here.ask("GET", &format!("/api/{one}/{NOBODYS}"), None).await, &NOBODYS.to_string()));
    }
    for many in ["incidents", "incidentlinks"] {
        let (status, list) = here.ask("GET", &format!("/api/{many}"), None).await;
        assert_eq!((status, &list["Items"]), (200, &json!([])), "{many}");
    }
}
