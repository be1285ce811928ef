//! The task types that later versions of the original have: GenerateTestProject,
//! DeleteProject, bulkaction.

use longhaul_tests::{Stage, fill_project, quick_worker, until};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

const ONE: Uuid = uuid!("11111111-1111-4111-8111-111111111111");
const TWO: Uuid = uuid!("22222222-2222-4222-8222-222222222222");

async fn run(stage: &Stage, type_name: &str, parameters: Value) -> Value {
    let started = stage.start(&json!({"Type": type_name, "Parameters": parameters})).await;
    let ended = stage.ended(&started).await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
    ended
}

async fn refused(stage: &Stage, type_name: &str, parameters: Value) -> (u16, Value) {
    let response = stage.post(&json!({"Type": type_name, "Parameters": parameters})).await;
    let status = response.status().as_u16();
    let body = response.json().await.expect("a problem");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0, "nothing is stored: {body}");
    (status, body)
}

async fn count(stage: &Stage, table: &str, condition: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table} WHERE {condition}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&stage.pool).await.expect("a count")
}

/// What a project's entities say, whatever their ids.
async fn texts(stage: &Stage, project: Uuid) -> Vec<(String, String, String, Value)> {
    sqlx::query_as("SELECT kind, key, name, fields FROM records.entity WHERE project_id = $1 ORDER BY id")
        .bind(project)
        .fetch_all(&stage.pool)
        .await
        .expect("entities")
}

#[tokio::test]
async fn a_generated_project_has_what_was_asked_for_and_can_be_searched() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    let parameters =
        json!({"ProjectId": ONE, "Name": "Big one", "Entities": 7_001, "RelationshipsPerEntity": 3, "Seed": 42});
    let ended = run(&stage, "GenerateTestProject", parameters).await;
    assert!(ended["Id"].as_str().is_some_and(|id| id.starts_with("generatetestproject_")), "{ended}");
    // The first three have fewer entities before them.
    let relationships = 7_001 * 3 - 6;
    assert_eq!(ended["Result"], json!({"ProjectId": ONE, "Entities": 7_001, "Relationships": relationships}));
    assert_eq!((&ended["TotalElements"], &ended["ProcessedElements"]), (&json!(7_001), &json!(7_001)));
    assert_eq!(count(&stage, "records.project", "name = 'Big one'").await, 1);
    assert_eq!(count(&stage, "records.entity", "true").await, 7_001);
    assert_eq!(count(&stage, "records.relationship", "true").await, relationships);
    assert_eq!(stage.value::<i64>("SELECT count(DISTINCT kind) FROM records.entity").await, 5);
    run(&stage, "Reindex", json!({"ProjectId": ONE})).await;
    let (_, found) = stage.get(&format!("/api/search?q=invoice&project={ONE}")).await;
    assert!(found["Total"].as_i64().is_some_and(|total| total > 100), "{found}");
    worker.stop().await;
}

#[tokio::test]
async fn the_same_seed_gives_the_same_texts_and_another_one_others() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    let mut projects = Vec::new();
    for seed in [7, 7, 8] {
        let ended = run(&stage, "GenerateTestProject", json!({"Entities": 300, "Seed": seed})).await;
        let project: Uuid = ended["Result"]["ProjectId"].as_str().and_then(|id| id.parse().ok()).expect("a guid");
        projects.push(texts(&stage, project).await);
    }
    assert_eq!(projects[0], projects[1]);
    assert_ne!(projects[0], projects[2]);
    worker.stop().await;
}

/// Kills a worker in the middle of a task and lets another one end it.
async fn run_over_a_death(stage: &Stage, request: Value) -> Value {
    let doomed = stage.worker(quick_worker()).await;
    let accepted = stage.start(&request).await;
    let url = accepted["Self"].as_str().expect("Self").to_owned();
    until("the task to be under way", async || {
        let (_, body) = stage.get(&url).await;
        (body["ProcessedElements"].as_i64() > Some(0)).then_some(())
    })
    .await;
    doomed.kill().await;
    let next = stage.worker(quick_worker()).await;
    let ended = stage.ended(&accepted).await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
    next.stop().await;
    ended
}

#[tokio::test]
async fn generating_and_deleting_go_on_after_the_death_of_their_worker() {
    const ENTITIES: i64 = 40_000;
    let stage = Stage::new().await;
    let generate = json!({"Type": "GenerateTestProject", "Parameters": {"ProjectId": ONE, "Entities": ENTITIES}});
    let ended = run_over_a_death(&stage, generate).await;
    assert_eq!(ended["Result"]["Entities"], ENTITIES);
    assert_eq!(count(&stage, "records.entity", "true").await, ENTITIES);
    assert_eq!(count(&stage, "records.relationship", "true").await, ENTITIES - 1);
    let delete = json!({"Type": "DeleteProject", "Parameters": {"ProjectId": ONE}});
    let ended = run_over_a_death(&stage, delete).await;
    assert_eq!(
        ended["Result"],
        json!({"ProjectId": ONE, "Entities": ENTITIES, "Relationships": ENTITIES - 1}),
        "every batch is counted once"
    );
    assert_eq!(count(&stage, "records.project", "true").await, 0);
}

#[tokio::test]
async fn a_deleted_project_leaves_nothing_behind_and_others_alone() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 3_000).await;
    fill_project(&stage.pool, TWO, 500).await;
    // A hub that more relationships point at than go into one transaction, some
    // of them from the other project.
    for (kind, project) in [("Hub", ONE), ("Hub2", ONE), ("Hub3", ONE), ("Hub4", ONE), ("Hub", TWO)] {
        sqlx::query(
            "INSERT INTO records.relationship (source_id, target_id, kind)
             SELECT id, md5($1::text || 1)::uuid, $2 FROM records.entity WHERE project_id = $3",
        )
        .bind(ONE)
        .bind(kind)
        .bind(project)
        .execute(&stage.pool)
        .await
        .expect("relationships");
    }
    run(&stage, "Reindex", json!({})).await;
    let relationships = count(&stage, "records.relationship", "true").await;
    let ended = run(&stage, "DeleteProject", json!({"ProjectId": ONE})).await;
    assert!(ended["Id"].as_str().is_some_and(|id| id.starts_with("deleteproject_")), "{ended}");
    let left = count(&stage, "records.relationship", "true").await;
    assert_eq!(left, 1_000, "the other project's own");
    assert_eq!(ended["Result"], json!({"ProjectId": ONE, "Entities": 3_000, "Relationships": relationships - left}));
    assert_eq!(count(&stage, "records.project", "true").await, 1);
    assert_eq!(count(&stage, "records.entity", "true").await, 500);
    assert_eq!(count(&stage, "search.index", "true").await, 1);
    assert_eq!(count(&stage, "pg_tables", "schemaname = 'search' AND tablename LIKE 'document%'").await, 1);
    let (_, found) = stage.get("/api/search?q=entity").await;
    assert_eq!(found["Total"], 500);
    worker.stop().await;
}

#[tokio::test]
async fn deleting_a_project_twice_at_once_succeeds_twice() {
    let stage = Stage::new().await;
    fill_project(&stage.pool, ONE, 4_000).await;
    let request = json!({"Type": "DeleteProject", "Parameters": {"ProjectId": ONE}});
    let started = [stage.start(&request).await, stage.start(&request).await];
    let worker = stage.worker(quick_worker()).await;
    let mut entities = 0;
    for accepted in &started {
        let ended = stage.ended(accepted).await;
        assert_eq!(ended["State"], "Succeeded", "{ended}");
        entities += ended["Result"]["Entities"].as_i64().expect("a number");
    }
    assert_eq!(entities, 4_000, "each entity is deleted, and counted, once");
    worker.stop().await;
}

#[tokio::test]
async fn a_bulk_action_sets_and_removes_a_field_where_it_is_asked_to() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 5_000).await;
    fill_project(&stage.pool, TWO, 100).await;
    let set = json!({"Action": "SetField", "ProjectId": ONE, "Kind": "Script", "Field": "Owner's \"x\"", "Value": {"Name": ["Ada"]}});
    let ended = run(&stage, "bulkaction", set.clone()).await;
    assert!(ended["Id"].as_str().is_some_and(|id| id.starts_with("bulkaction_")), "{ended}");
    assert_eq!(
        (&ended["Result"], &ended["TotalElements"]),
        (&json!({"Found": 1_000, "Changed": 1_000}), &json!(1_000))
    );
    let owned = r#"fields -> 'Owner''s "x"' = '{"Name": ["Ada"]}'"#;
    assert_eq!(count(&stage, "records.entity", owned).await, 1_000);
    assert_eq!(
        count(&stage, "records.entity", &format!("{owned} AND kind = 'Script' AND project_id = '{ONE}'")).await,
        1_000
    );
    assert_eq!(count(&stage, "records.entity", "fields ? 'Description'").await, 5_100, "the other fields stay");
    let again = run(&stage, "bulkaction", set).await;
    assert_eq!(again["Result"], json!({"Found": 1_000, "Changed": 0}), "nothing is written twice");
    let ended =
        run(&stage, "bulkaction", json!({"Action": "RemoveField", "Kind": "Script", "Field": "Description"})).await;
    assert_eq!(ended["Result"], json!({"Found": 1_020, "Changed": 1_020}), "of all projects");
    assert_eq!(count(&stage, "records.entity", "fields ? 'Description'").await, 4_080);
    worker.stop().await;
}

#[tokio::test]
async fn a_bulk_action_works_on_what_a_search_finds() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 5_000).await;
    fill_project(&stage.pool, TWO, 5_000).await;
    run(&stage, "Reindex", json!({})).await;
    let (_, found) = stage.get(&format!("/api/search?q=word77&project={ONE}")).await;
    let found = found["Total"].as_i64().expect("a total");
    assert!(found > 0);
    let word = "fields ->> 'Description' ~ '\\mword77\\M'";
    assert_eq!(count(&stage, "records.entity", &format!("project_id = '{ONE}' AND {word}")).await, found);
    let set = json!({"Action": "SetField", "ProjectId": ONE, "Query": "word77", "Field": "Mark", "Value": true});
    let ended = run(&stage, "bulkaction", set).await;
    assert_eq!(ended["Result"], json!({"Found": found, "Changed": found}));
    assert_eq!(
        count(&stage, "records.entity", &format!("fields ? 'Mark' AND project_id = '{ONE}' AND {word}")).await,
        found
    );

    let relationships = count(&stage, "records.relationship", "true").await;
    let ended = run(&stage, "bulkaction", json!({"Action": "Delete", "Query": "word77 -own1", "Kind": "Result"})).await;
    let deleted = ended["Result"]["Changed"].as_i64().expect("a number");
    assert!(deleted > 0 && deleted < 2 * found, "{ended}");
    assert_eq!(count(&stage, "records.entity", "true").await, 10_000 - deleted);
    assert_eq!(count(&stage, "records.entity", &format!("kind = 'Result' AND {word}")).await, 0);
    assert!(count(&stage, "records.relationship", "true").await < relationships);
    assert_eq!(count(&stage, "records.bulk_target", "true").await, 0, "what was found is forgotten at the end");
    worker.stop().await;
}

#[tokio::test]
async fn a_bulk_action_goes_on_after_the_death_of_its_worker() {
    const ENTITIES: i64 = 30_000;
    let stage = Stage::new().await;
    fill_project(&stage.pool, ONE, ENTITIES).await;
    let request = json!({"Type": "bulkaction", "Parameters":
        {"Action": "SetField", "ProjectId": ONE, "Field": "Mark", "Value": 1}});
    let ended = run_over_a_death(&stage, request).await;
    assert_eq!(ended["Result"], json!({"Found": ENTITIES, "Changed": ENTITIES}), "every batch is counted once");
}

#[tokio::test]
async fn jobs_that_make_no_sense_are_refused_with_every_reason_at_once() {
    let stage = Stage::new().await;
    fill_project(&stage.pool, ONE, 10).await;
    let invalid =
        |errors: &[&str]| (400, "invalid-parameters", errors.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>());
    let impossible = |code: &'static str| (500, code, Vec::new());
    for (type_name, parameters, (status, code, pointers)) in [
        ("GenerateTestProject", json!({"ProjectId": ONE}), impossible("project-exists")),
        (
            "GenerateTestProject",
            json!({"Entities": 0, "RelationshipsPerEntity": 21, "Seed": -1, "Name": "", "Size": 5}),
            invalid(&[
                "/Parameters/Entities",
                "/Parameters/Name",
                "/Parameters/RelationshipsPerEntity",
                "/Parameters/Seed",
                "/Parameters/Size",
            ]),
        ),
        ("DeleteProject", json!({"ProjectId": TWO}), impossible("unknown-project")),
        ("DeleteProject", json!({}), invalid(&["/Parameters/ProjectId"])),
        ("bulkaction", json!({"Action": "Delete"}), invalid(&["/Parameters"])),
        ("bulkaction", json!({"Action": "Explode", "ProjectId": ONE}), invalid(&["/Parameters/Action"])),
        (
            "bulkaction",
            json!({"Action": "SetField", "ProjectId": ONE}),
            invalid(&["/Parameters/Field", "/Parameters/Value"]),
        ),
        (
            "bulkaction",
            json!({"Action": "SetField", "ProjectId": ONE, "Field": "A", "Value": null}),
            invalid(&["/Parameters/Value"]),
        ),
        (
            "bulkaction",
            json!({"Action": "Delete", "Query": " ", "Field": "A", "Value": 1}),
            invalid(&["/Parameters/Query", "/Parameters/Field", "/Parameters/Value"]),
        ),
        ("bulkaction", json!({"Action": "Delete", "Kind": "two words"}), invalid(&["/Parameters/Kind"])),
        ("bulkaction", json!({"Action": "Delete", "ProjectId": TWO}), impossible("unknown-project")),
        ("bulkaction", json!({"Action": "Delete", "Query": "-word77"}), invalid(&["/Parameters/Query"])),
        ("bulkaction", json!({"Action": "Delete", "Query": "word77 or -word78"}), invalid(&["/Parameters/Query"])),
        ("bulkaction", json!({"Action": "Delete", "ProjectId": ONE, "Query": "..."}), invalid(&["/Parameters/Query"])),
        ("bulkaction", json!({"Action": "Delete", "Query": "word77"}), impossible("not-indexed")),
    ] {
        let (got, body) = refused(&stage, type_name, parameters).await;
        assert_eq!((got, &body["code"]), (status, &json!(code)), "{body}");
        let complaints: Vec<_> =
            body["errors"].as_array().into_iter().flatten().map(|e| e["pointer"].clone()).collect();
        assert_eq!(complaints, pointers, "{body}");
    }
}

#[tokio::test]
async fn a_bulk_action_that_fits_everything_changes_nothing_also_when_it_comes_from_sql() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 100).await;
    run(&stage, "Reindex", json!({})).await;
    for parameters in [
        json!({"Action": "Delete"}),
        json!({"Action": "Delete", "Query": "-zzzz"}),
        json!({"Action": "Delete", "Query": "word77 or -zzzz"}),
        json!({"Action": "Delete", "Query": "-zzzz -yyyy", "ProjectId": ONE}),
        json!({"Action": "Delete", "Query": " "}),
    ] {
        let id: String = sqlx::query_scalar("SELECT longhaul.enqueue('bulkaction', $1)")
            .bind(&parameters)
            .fetch_one(&stage.pool)
            .await
            .expect("stored");
        let ended = stage.ended(&json!({"Self": format!("/api/backgroundtask/{id}")})).await;
        assert_eq!((&ended["State"], &ended["Error"]["code"]), (&json!("Failed"), &json!("not-runnable")), "{ended}");
    }
    assert_eq!(count(&stage, "records.entity", "true").await, 100);
    // A word beside it narrows.
    let ended = run(&stage, "bulkaction", json!({"Action": "Delete", "Query": "entity -zzzz", "Kind": "Script"})).await;
    assert_eq!(ended["Result"]["Changed"], 20, "{ended}");
    worker.stop().await;
}
