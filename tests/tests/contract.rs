//! The wire contract: the request and response pairs of the original's
//! documentation, and the rules of the task body.

use longhaul_tests::{Stage, fill_project, quick_worker};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

/// The project of the seed's example.
const PROJECT: Uuid = uuid!("c651ed19-5375-475a-a539-9f6401467130");

/// The eight members that are always there, by name and JSON type.
const MEMBERS: [(&str, &str); 8] = [
    ("Complete", "boolean"),
    ("TotalElements", "integer"),
    ("ProcessedElements", "integer"),
    ("StartedAt", "string"),
    ("ProgressInPercent", "number"),
    ("Id", "string"),
    ("Message", "string or null"),
    ("Self", "string"),
];

fn type_fits(value: &Value, expected: &str) -> bool {
    match expected {
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64(),
        "number" => value.is_f64(),
        "string" => value.is_string(),
        _ => value.is_string() || value.is_null(),
    }
}

fn assert_members(body: &Value) {
    for (name, expected) in MEMBERS {
        let value = body.get(name).unwrap_or_else(|| panic!("{name} is missing in {body}"));
        assert!(type_fits(value, expected), "{name} of {body} should be {expected}");
    }
}

/// Compares an answer with the seed's: same members, same values but for what
/// differs from call to call (guid, host, time).
async fn assert_seed_pair(stage: &Stage, request: Value) {
    let response = stage
        .http
        .post(format!("{}/api/backgroundtasks", stage.base_url))
        .header("Accept", "application/json")
        .header("Content-type", "application/json")
        .body(request.to_string())
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 202);
    let header = |name: &str| response.headers().get(name).expect(name).to_str().expect("text").to_owned();
    assert_eq!(header("content-type"), "application/json; charset=utf-8");
    let location = header("location");
    let body: Value = response.json().await.expect("JSON");
    assert_members(&body);

    let id = body["Id"].as_str().expect("an id");
    let guid = id.strip_prefix("reindex-").expect("the prefix of the seed");
    assert_eq!(Uuid::try_parse(guid).expect("a guid").to_string(), guid, "lower case, with hyphens");
    assert_eq!(location, format!("{}/api/backgroundtask/{id}", stage.base_url));
    assert_eq!(body["Self"], location);
    let started_at = body["StartedAt"].as_str().expect("a time");
    chrono::NaiveDateTime::parse_from_str(started_at, "%Y-%m-%dT%H:%M:%SZ").expect("UTC in whole seconds");

    // The seed's body, for a project with nine entities: queuing is the first
    // element of ten.
    let seed = json!({
        "Complete": false, "TotalElements": 10, "ProcessedElements": 1, "StartedAt": started_at,
        "ProgressInPercent": 0.1, "Id": id, "Message": "Queuing index events", "Self": location,
    });
    for (name, value) in seed.as_object().expect("an object") {
        assert_eq!(&body[name], value, "{name}");
    }
}

#[tokio::test]
async fn the_seeds_first_reindex_is_answered_as_documented() {
    let stage = Stage::new().await;
    fill_project(&stage.pool, PROJECT, 9).await;
    assert_seed_pair(&stage, json!({"Type": "Reindex", "Parameters": {"Optimize": true, "ProjectId": PROJECT}})).await;
}

#[tokio::test]
async fn the_seeds_second_reindex_is_answered_as_documented() {
    let stage = Stage::new().await;
    fill_project(&stage.pool, PROJECT, 9).await;
    assert_seed_pair(&stage, json!({"Type": "Reindex", "Parameters": {"Optimize": false, "SkipRelationships": true}}))
        .await;
}

#[tokio::test]
async fn a_task_is_found_by_either_path_in_any_case() {
    let stage = Stage::new().await;
    let started = stage.start(&json!({"Type": "Reindex"})).await;
    let id = started["Id"].as_str().expect("an id");
    for path in [
        format!("/api/backgroundtask/{id}"),
        format!("/api/backgroundtasks/{id}"),
        format!("/api/backgroundtask/{}", id.to_uppercase()),
    ] {
        let (status, body) = stage.get(&path).await;
        assert_eq!((status, &body["Id"], &body["Self"]), (200, &started["Id"], &started["Self"]), "{path}");
        assert_members(&body);
    }
}

#[tokio::test]
async fn a_post_to_the_singular_path_starts_a_task_too() {
    let stage = Stage::new().await;
    let response = stage
        .http
        .post(format!("{}/api/backgroundtask", stage.base_url))
        .json(&json!({"Type": "Reindex", "Parameters": {}}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 202);
}

#[tokio::test]
async fn the_body_tells_the_life_of_a_task() {
    let stage = Stage::new().await;
    fill_project(&stage.pool, PROJECT, 25).await;
    let queued = stage.start(&json!({"Type": "Reindex", "Parameters": {"ProjectId": PROJECT}})).await;
    assert_eq!((&queued["State"], &queued["Attempt"]), (&json!("Queued"), &json!(0)));
    assert!(queued.get("FinishedAt").is_none() && queued.get("Error").is_none());
    let (_, same) = stage.get(queued["Self"].as_str().expect("an address")).await;
    assert_eq!(same, queued, "nothing runs it, so nothing changes");

    let worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(&queued).await;
    assert_members(&ended);
    assert_eq!(ended["State"], "Succeeded");
    assert_eq!(ended["ProgressInPercent"], json!(1.0));
    assert_eq!((&ended["TotalElements"], &ended["ProcessedElements"]), (&json!(26), &json!(26)));
    assert_eq!(ended["StartedAt"], queued["StartedAt"], "it never changes");
    assert!(ended["FinishedAt"].as_str().expect("a time").ends_with('Z'));
    assert_eq!((&ended["Type"], &ended["Attempt"]), (&json!("Reindex"), &json!(1)));
    assert_eq!(ended["Links"], json!([{"Href": ended["Self"], "Rel": "Self"}]));
    worker.stop().await;
}

#[tokio::test]
async fn a_202_is_durable_before_it_is_sent() {
    let stage = Stage::new().await;
    let started = stage.start(&json!({"Type": "Reindex"})).await;
    let stored: i64 = stage.value("SELECT count(*) FROM longhaul.tasks WHERE state = 'Queued'").await;
    assert_eq!(stored, 1);
    let public_id: String = stage.value("SELECT public_id FROM longhaul.tasks").await;
    assert_eq!(started["Id"], json!(public_id));
}

#[tokio::test]
async fn health_tells_alive_from_ready() {
    let stage = Stage::new().await;
    assert_eq!(stage.get("/health/live").await, (200, json!({"status": "live"})));
    assert_eq!(stage.get("/health/ready").await, (200, json!({"status": "ready"})));
}
