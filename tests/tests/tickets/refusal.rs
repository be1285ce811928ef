//! What a POST refuses, and what a worker finds later.

use std::time::{Duration, Instant};

use longhaul_tests::{Stage, quick_worker, until};
use serde_json::{Value, json};
use uuid::Uuid;
use wiremock::matchers::any;
use wiremock::{Mock, ResponseTemplate};

use super::scene::*;

fn link_request(key: &str) -> Value {
    json!({"Type": "LinkTicketToStepResult", "Parameters": {"StepResultId": STEP_RESULT, "Key": key}})
}

async fn assert_refused(stage: &Stage, request: &Value, status: u16, code: &str) -> Value {
    let response = stage.post(request).await;
    let found = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json; charset=utf-8");
    if status == 503 {
        assert!(response.headers().contains_key("retry-after"));
    }
    let body: Value = response.json().await.expect("JSON");
    assert_eq!((found, body["code"].as_str()), (status, Some(code)), "{request} was answered by {body}");
    let tasks: i64 = stage.value("SELECT count(*) FROM longhaul.task WHERE state = 'Queued'").await;
    assert_eq!(tasks, 0, "nothing is stored");
    body
}

#[tokio::test]
async fn an_unknown_key_is_ticket_not_found() {
    let scene = Scene::new().await;
    for key in ["TST-124", "10123", "TST-123/../x", "nonsense"] {
        assert_refused(&scene.stage, &link_request(key), 500, "ticket-not-found").await;
    }
    let create =
        json!({"Type": "CreateTicketLink", "Parameters": {"TicketId": "OTH-9", "ExternalSystemLinkId": SECOND_LINK}});
    assert_refused(&scene.stage, &create, 500, "ticket-not-found").await;
}

#[tokio::test]
async fn a_wrong_project_of_the_tracker_is_told_and_not_the_key() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let (project, link) = (Uuid::from_u128(1), Uuid::from_u128(2));
    longhaul_tests::fill_project(&stage.pool, project, 0).await;
    connect(stage, link, project, "JiraDataCenter", &scene.first.uri(), Some(" TSTT ")).await;
    let create = json!({"Type": "CreateTicketLink", "Parameters": {"TicketId": "10123", "ExternalSystemLinkId": link}});
    let problem = assert_refused(stage, &create, 500, "ticket-not-found").await;
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("check RemoteProject") && detail.contains("'TSTT'"), "{detail}");
    assert!(!detail.contains("check Key"), "{detail}");
    create_assignment(stage, project, Uuid::from_u128(3)).await;
    let mut request = link_request("TST-123");
    request["Parameters"]["StepResultId"] = json!(Uuid::from_u128(3));
    let problem = assert_refused(stage, &request, 500, "ticket-not-found").await;
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("check RemoteProject") && !detail.contains("check Key"), "{detail}");
    // Where nothing is known of the ticket both may be wrong.
    request["Parameters"]["Key"] = json!("TST-124");
    let problem = assert_refused(stage, &request, 500, "ticket-not-found").await;
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("check Key, and RemoteProject"), "{detail}");

    // GitLab answers the same for a project and an issue that are not there.
    let (project, link) = (Uuid::from_u128(4), Uuid::from_u128(5));
    longhaul_tests::fill_project(&stage.pool, project, 0).await;
    connect(stage, link, project, "GitLab", &scene.first.uri(), Some("group/typo")).await;
    create_assignment(stage, project, Uuid::from_u128(6)).await;
    let mut request = link_request("#7");
    request["Parameters"]["StepResultId"] = json!(Uuid::from_u128(6));
    let problem = assert_refused(stage, &request, 500, "tracker-misbehaved").await;
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("'group/typo' (RemoteProject"), "{detail}");
}

async fn create_assignment(stage: &Stage, project: Uuid, step_result: Uuid) {
    let steps = json!([{"Id": step_result, "Name": "Log in", "Status": "Failed"}]);
    create(stage, "scriptassignments", json!({"ProjectId": project, "Name": "Smoke", "StepResults": steps})).await;
}

#[tokio::test]
async fn spaces_around_a_key_do_not_count() {
    let scene = Scene::new().await;
    let response = scene.stage.post(&link_request(" TST-123\n")).await;
    assert_eq!(response.status(), 202);
}

#[tokio::test]
async fn a_key_in_two_trackers_is_ambiguous_and_the_answer_names_both() {
    let scene = Scene::new().await;
    serve_issue(&scene.second, "777", "TST-123", "The other one").await;
    let body = assert_refused(&scene.stage, &link_request("TST-123"), 500, "ambiguous-ticket-key").await;
    let detail = body["detail"].as_str().expect("a detail");
    assert!(detail.contains(&FIRST_LINK.to_string()) && detail.contains(&SECOND_LINK.to_string()), "{detail}");
}

#[tokio::test]
async fn unknown_targets_are_told_apart() {
    let scene = Scene::new().await;
    let other = Uuid::nil();
    for (name, parameters, code) in [
        ("LinkTicketToStepResult", json!({"StepResultId": other, "Key": "TST-123"}), "unknown-step-result"),
        (
            "LinkTicketToAgileRunStep",
            json!({"AgileRunId": other, "StepId": AGILE_RUN_STEP, "Key": "TST-123"}),
            "unknown-agile-run",
        ),
        (
            "LinkTicketToAgileRunStep",
            json!({"AgileRunId": AGILE_RUN, "StepId": other, "Key": "TST-123"}),
            "unknown-agile-run-step",
        ),
        (
            "LinkTicketToAutomatedTestRunResultNode",
            json!({"AutomatedTestRunId": other, "ResultNodeId": RESULT_NODE, "Key": "TST-123"}),
            "unknown-automated-test-run",
        ),
        (
            "LinkTicketToAutomatedTestRunResultNode",
            json!({"AutomatedTestRunId": TEST_RUN, "ResultNodeId": other, "Key": "TST-123"}),
            "unknown-result-node",
        ),
        (
            "LinkTicketToStepResult",
            json!({"StepResultId": STEP_RESULT, "Key": "TST-123", "ExternalSystemLinkId": other}),
            "unknown-external-system-link",
        ),
        (
            "CreateTicketLink",
            json!({"TicketId": "12345", "ExternalSystemLinkId": other}),
            "unknown-external-system-link",
        ),
    ] {
        assert_refused(&scene.stage, &json!({"Type": name, "Parameters": parameters}), 500, code).await;
    }
}

#[tokio::test]
async fn an_external_system_link_of_another_project_does_not_count() {
    let scene = Scene::new().await;
    let (project, link) = (Uuid::from_u128(1), Uuid::from_u128(2));
    longhaul_tests::fill_project(&scene.stage.pool, project, 0).await;
    connect(&scene.stage, link, project, "JiraDataCenter", &scene.first.uri(), None).await;
    let mut request = link_request("TST-123");
    request["Parameters"]["ExternalSystemLinkId"] = json!(link);
    assert_refused(&scene.stage, &request, 500, "unknown-external-system-link").await;
}

#[tokio::test]
async fn parameters_are_checked_all_at_once() {
    let scene = Scene::new().await;
    let request = json!({"Type": "LinkTicketToStepResult", "Parameters": {"StepResultId": "x", "Colour": 1}});
    let body = assert_refused(&scene.stage, &request, 400, "invalid-parameters").await;
    let pointers: Vec<_> =
        body["errors"].as_array().expect("errors").iter().map(|error| error["pointer"].clone()).collect();
    assert_eq!(pointers, ["/Parameters/Colour", "/Parameters/Key", "/Parameters/StepResultId"]);
    assert_refused(&scene.stage, &link_request(""), 400, "invalid-parameters").await;
}

#[tokio::test]
async fn a_linked_ticket_is_refused_at_the_post() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let worker = stage.worker(quick_worker()).await;
    stage.ended(&stage.start(&link_request("TST-123")).await).await;
    let create =
        json!({"Type": "CreateTicketLink", "Parameters": {"TicketId": "10123", "ExternalSystemLinkId": FIRST_LINK}});
    for request in [link_request("TST-123"), create] {
        assert_refused(stage, &request, 500, "already-linked").await;
    }
    worker.stop().await;
    scene.assert_incidents(1, 1).await;
}

#[tokio::test]
async fn a_slow_tracker_is_a_503_in_time() {
    let settings =
        longhaul_test_management::trackers::TrackerSettings { deadline: Duration::from_millis(700), ..settings() };
    let scene = Scene::with(settings).await;
    scene.second.reset().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(404).set_delay(Duration::from_secs(30)))
        .mount(&scene.second)
        .await;
    let began = Instant::now();
    // The other tracker has the ticket, but nobody knows whether it is the only one.
    assert_refused(&scene.stage, &link_request("TST-123"), 503, "unavailable").await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_tracker_that_is_down_in_the_middle_is_tried_again() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let accepted = stage.start(&link_request("TST-123")).await;
    scene.first.reset().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(503)).mount(&scene.first).await;
    let _worker = stage.worker(quick_worker()).await;
    until("the first attempt to fail", async || {
        let (_, body) = stage.get(accepted["Self"].as_str().expect("an address")).await;
        (body["State"] == "Retrying").then_some(())
    })
    .await;
    scene.assert_incidents(0, 0).await;
    let code: String = stage.value("SELECT error ->> 'code' FROM longhaul.attempt_error").await;
    assert_eq!(code, "tracker-unavailable");

    scene.first.reset().await;
    serve_issue(&scene.first, "10123", "TST-123", "Login fails").await;
    let ended = stage.ended(&accepted).await;
    assert_eq!((&ended["State"], &ended["Attempt"]), (&json!("Succeeded"), &json!(2)), "{ended}");
    scene.assert_incidents(1, 1).await;
}

#[tokio::test]
async fn a_ticket_that_vanishes_in_the_middle_fails_the_task_for_good() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let accepted = stage.start(&link_request("TST-123")).await;
    scene.first.reset().await;
    let _worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(&accepted).await;
    assert_eq!((&ended["State"], &ended["Attempt"]), (&json!("Failed"), &json!(1)), "{ended}");
    assert_eq!(ended["Error"]["code"], "ticket-not-found");
    assert!(ended.get("IncidentId").is_none());
    scene.assert_incidents(0, 0).await;
}

#[tokio::test]
async fn a_target_that_vanishes_in_the_middle_fails_the_task_for_good() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let accepted = stage.start(&link_request("TST-123")).await;
    sqlx::query("DELETE FROM records.step_result WHERE id = $1")
        .bind(STEP_RESULT)
        .execute(&stage.pool)
        .await
        .expect("gone");
    let _worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(&accepted).await;
    assert_eq!(ended["Error"]["code"], "unknown-step-result", "{ended}");
    scene.assert_incidents(0, 0).await;
}
