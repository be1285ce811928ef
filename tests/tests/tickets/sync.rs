//! `SyncIncidents`.

use longhaul_tests::{Stage, quick_worker, until};
use serde_json::{Value, json};
use uuid::Uuid;
use wiremock::matchers::{any, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::scene::*;

async fn make_incident(stage: &Stage, link: Uuid, ticket_id: &str) -> String {
    let parameters = json!({"TicketId": ticket_id, "ExternalSystemLinkId": link});
    let ended = stage.ended(&stage.start(&json!({"Type": "CreateTicketLink", "Parameters": parameters})).await).await;
    ended["IncidentId"].as_str().unwrap_or_else(|| panic!("{ended}")).to_owned()
}

async fn sync(stage: &Stage) -> Value {
    stage.ended(&stage.start(&json!({"Type": "SyncIncidents"})).await).await
}

/// Incidents of the first tracker's tickets 1, 2, …
async fn fill_incidents(stage: &Stage, count: i32) {
    sqlx::query(
        "WITH made AS (
             INSERT INTO records.entity (id, project_id, kind, key, name)
             SELECT gen_random_uuid(), $1, 'Incident', 'TST-' || n, 'old' FROM generate_series(1, $3) AS n
             RETURNING id, key)
         INSERT INTO records.incident (id, external_system_link_id, ticket_id)
         SELECT id, $2, replace(key, 'TST-', '') FROM made",
    )
    .bind(PROJECT)
    .bind(FIRST_LINK)
    .bind(count)
    .execute(&stage.pool)
    .await
    .expect("incidents");
}

async fn incident(stage: &Stage, id: &str) -> Value {
    stage.get(&format!("/api/incident/{id}")).await.1
}

#[tokio::test]
async fn incidents_follow_their_tickets_and_keep_their_own_fields() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let _worker = stage.worker(quick_worker()).await;
    let id = make_incident(stage, FIRST_LINK, "10123").await;
    sqlx::query("UPDATE records.entity SET fields = fields || '{\"Severity\": \"High\"}'")
        .execute(&stage.pool)
        .await
        .expect("a field of our own");
    // Renamed and moved to another project: the id stays.
    scene.first.reset().await;
    serve_issue(&scene.first, "10123", "NEW-1", "Login fails on Mondays").await;
    let ended = sync(stage).await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
    assert_eq!(ended["Result"], json!({"Incidents": 1, "Changed": 1, "Vanished": 0}));
    assert_eq!((&ended["TotalElements"], &ended["ProcessedElements"]), (&json!(1), &json!(1)));
    let found = incident(stage, &id).await;
    assert_eq!((&found["Key"], &found["Name"]), (&json!("NEW-1"), &json!("Login fails on Mondays")));
    assert_eq!(found["Fields"]["Severity"], "High");
    assert_eq!(found["Fields"]["Ticket"]["Key"], "NEW-1");
    let again = sync(stage).await;
    assert_eq!(again["Result"], json!({"Incidents": 1, "Changed": 0, "Vanished": 0}), "nothing has changed since");
}

#[tokio::test]
async fn a_vanished_ticket_is_noted_once_and_taken_back_when_it_returns() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let _worker = stage.worker(quick_worker()).await;
    let id = make_incident(stage, FIRST_LINK, "10123").await;
    scene.first.reset().await;
    assert_eq!(sync(stage).await["Result"], json!({"Incidents": 1, "Changed": 0, "Vanished": 1}));
    let gone = incident(stage, &id).await;
    assert!(gone["VanishedAt"].is_string(), "{gone}");
    assert_eq!(gone["Name"], "Login fails", "nothing is lost");
    assert_eq!(sync(stage).await["Result"], json!({"Incidents": 1, "Changed": 0, "Vanished": 0}));
    assert_eq!(incident(stage, &id).await["VanishedAt"], gone["VanishedAt"], "since when stays");
    serve_issue(&scene.first, "10123", "TST-123", "Login fails").await;
    sync(stage).await;
    assert_eq!(incident(stage, &id).await["VanishedAt"], Value::Null);
}

#[tokio::test]
async fn a_dead_tracker_holds_up_no_other_and_is_asked_again_later() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let _worker = stage.worker(quick_worker()).await;
    let (first, second) =
        (make_incident(stage, FIRST_LINK, "10123").await, make_incident(stage, SECOND_LINK, "12345").await);
    scene.first.reset().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(503)).mount(&scene.first).await;
    scene.second.reset().await;
    serve_issue(&scene.second, "12345", "OTH-9", "Logout works").await;
    let started = stage.start(&json!({"Type": "SyncIncidents", "Parameters": {"ProjectId": PROJECT}})).await;
    until("the first attempt to fail", async || {
        let (_, body) = stage.get(started["Self"].as_str().expect("an address")).await;
        (body["State"] == "Retrying").then_some(())
    })
    .await;
    assert_eq!(incident(stage, &second).await["Name"], "Logout works");
    assert_eq!(incident(stage, &first).await["VanishedAt"], Value::Null, "not to answer is not to know it no more");

    scene.first.reset().await;
    serve_issue(&scene.first, "10123", "TST-123", "Login works").await;
    let ended = stage.ended(&started).await;
    assert_eq!(ended["Result"], json!({"Incidents": 2, "Changed": 2, "Vanished": 0}), "{ended}");
    assert_eq!(incident(stage, &first).await["Name"], "Login works");
}

#[tokio::test]
async fn many_incidents_are_walked_in_batches_each_once() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    fill_incidents(stage, 120).await;
    for n in 1..=120 {
        serve_issue(&scene.first, &n.to_string(), &format!("TST-{n}"), "new").await;
    }
    let _worker = stage.worker(quick_worker()).await;
    let started = stage.start(&json!({"Type": "SyncIncidents"})).await;
    assert_eq!((&started["TotalElements"], &started["ProcessedElements"]), (&json!(120), &json!(0)));
    let ended = stage.ended(&started).await;
    assert_eq!(ended["Result"], json!({"Incidents": 120, "Changed": 120, "Vanished": 0}), "{ended}");
    assert_eq!(scene.first.received_requests().await.expect("requests").len(), 120);
}

#[tokio::test]
async fn unknown_projects_and_connections_are_refused() {
    let scene = Scene::new().await;
    for (parameters, code) in [
        (json!({"ProjectId": Uuid::nil()}), "unknown-project"),
        (json!({"ExternalSystemLinkId": Uuid::nil()}), "unknown-external-system-link"),
    ] {
        let response = scene.stage.post(&json!({"Type": "SyncIncidents", "Parameters": parameters})).await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.json::<Value>().await.expect("JSON")["code"], code);
    }
}

#[tokio::test]
async fn a_ticket_that_was_moved_to_another_project_of_the_tracker_has_not_vanished() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let _worker = stage.worker(quick_worker()).await;
    let link = Uuid::from_u128(7);
    connect(stage, link, PROJECT, "JiraDataCenter", &scene.first.uri(), Some("TST")).await;
    let id = make_incident(stage, link, "10123").await;
    scene.first.reset().await;
    serve_issue(&scene.first, "10123", "NEW-1", "Login fails").await;
    let ended = sync(stage).await;
    assert_eq!(ended["Result"], json!({"Incidents": 1, "Changed": 1, "Vanished": 0}), "{ended}");
    let found = incident(stage, &id).await;
    assert_eq!((&found["Key"], &found["VanishedAt"]), (&json!("NEW-1"), &Value::Null), "{found}");

    // Redmine looks in a project and its subprojects only.
    let redmine = MockServer::start().await;
    let issue = json!({"id": 12, "subject": "Moved", "status": {"id": 1, "name": "New"}});
    let answer = |issues: Value| ResponseTemplate::new(200).set_body_json(json!({"issues": issues}));
    let mut link = Uuid::from_u128(8);
    connect(stage, link, PROJECT, "Redmine", &redmine.uri(), Some("old")).await;
    Mock::given(query_param("project_id", "old")).respond_with(answer(json!([issue]))).mount(&redmine).await;
    let id = make_incident(stage, link, "12").await;
    redmine.reset().await;
    Mock::given(query_param("project_id", "old")).respond_with(answer(json!([]))).mount(&redmine).await;
    Mock::given(query_param("issue_id", "12")).respond_with(answer(json!([issue]))).mount(&redmine).await;
    assert_eq!(sync(stage).await["Result"]["Vanished"], 0);
    assert_eq!(incident(stage, &id).await["VanishedAt"], Value::Null);

    // A project of GitLab that is not shown any more is no ticket that vanished.
    let gitlab = MockServer::start().await;
    link = Uuid::from_u128(9);
    connect(stage, link, PROJECT, "GitLab", &gitlab.uri(), Some("group/app")).await;
    let issue = json!({"iid": 7, "title": "Seven", "state": "opened"});
    Mock::given(path("/api/v4/projects/group%2Fapp/issues/7"))
        .respond_with(ResponseTemplate::new(200).set_body_json(issue))
        .mount(&gitlab)
        .await;
    let id = make_incident(stage, link, "7").await;
    gitlab.reset().await;
    let started = stage.start(&json!({"Type": "SyncIncidents", "Parameters": {"ExternalSystemLinkId": link}})).await;
    let failed = until("the first attempt to fail", async || {
        let (_, body) = stage.get(started["Self"].as_str().expect("an address")).await;
        (body["State"] == "Retrying").then_some(body)
    })
    .await;
    assert_eq!(incident(stage, &id).await["VanishedAt"], Value::Null, "{failed}");
}

#[tokio::test]
async fn a_tracker_that_asks_to_be_left_alone_is_until_then() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    fill_incidents(stage, 120).await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(429).insert_header("Retry-After", "900"))
        .with_priority(1)
        .mount(&scene.first)
        .await;
    let worker = stage.worker(quick_worker()).await;
    stage.start(&json!({"Type": "SyncIncidents"})).await;
    let wait: f64 = until("the first attempt to fail", async || {
        let sql = "SELECT extract(epoch FROM run_at - now())::float8 FROM longhaul.tasks WHERE state = 'Retrying'";
        sqlx::query_scalar(sql).fetch_optional(&stage.pool).await.expect("an answer")
    })
    .await;
    assert!((840.0..=900.0).contains(&wait), "the next attempt is in {wait} s");
    let asked = scene.first.received_requests().await.expect("requests").len();
    assert!(asked <= 8, "{asked} requests, those that were under way when it said so");
    worker.stop().await;
}
