//! The seed's five examples, and the link of a ticket search result.

use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, ResponseTemplate};

use longhaul_tests::{Example, assert_shows, quick_worker};

use super::scene::*;

/// POSTs an example of the seed, compares the answer with it, and lets the task run.
async fn assert_seed_pair(scene: &Scene, example: Example) -> Value {
    let stage = &scene.stage;
    let body = example.assert_answered(stage).await;
    let id = body["Id"].as_str().expect("an id");
    // Nothing is written before the worker runs.
    scene.assert_incidents(0, 0).await;
    for address in ["/api", "/api/backgroundtask", "/api/backgroundtasks"] {
        let (_, same) = stage.get(&format!("{address}/{id}")).await;
        assert_shows(&same, &body);
    }

    let worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(&body).await;
    worker.stop().await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
    assert_eq!((&ended["ProgressInPercent"], &ended["ProcessedElements"]), (&json!(1.0), &body["TotalElements"]));
    assert!(ended.get("Result").is_none(), "the incident is all there is to tell: {ended}");
    let incident = ended["IncidentId"].as_str().expect("an incident");
    let address = ended["Links"]
        .as_array()
        .expect("links")
        .iter()
        .find(|link| link["Rel"] == "Incident")
        .expect("a link to the incident")["Href"]
        .as_str()
        .expect("an address");
    assert_eq!(address, format!("{}/api/incident/{incident}", stage.base_url));
    let (status, incident) = stage.get(address).await;
    assert_eq!(status, 200, "{incident}");
    incident
}

#[tokio::test]
async fn a_ticket_is_linked_to_a_step_result() {
    let scene = Scene::new().await;
    let incident = assert_seed_pair(&scene, Example::of("LinkTicketToStepResult", 0)).await;
    assert_eq!(incident["Key"], "TST-123");
    assert_eq!(incident["Name"], "Login fails");
    assert_eq!(incident["TicketId"], "10123");
    assert_eq!(incident["ExternalSystemLinkId"], FIRST_LINK.to_string());
    assert_eq!(incident["Fields"]["Ticket"]["Status"], "To Do");
    scene.assert_incidents(1, 1).await;
    let (_, links) = scene.stage.get(&format!("/api/incidentlinks?stepresult={STEP_RESULT}")).await;
    assert_eq!(links["Items"][0]["IncidentId"], incident["Id"]);
}

#[tokio::test]
async fn the_external_system_link_tells_two_tickets_with_one_key_apart() {
    let scene = Scene::new().await;
    serve_issue(&scene.second, "777", "TST-123", "The other one").await;
    let incident = assert_seed_pair(&scene, Example::of("LinkTicketToStepResult", 1)).await;
    assert_eq!(incident["Name"], "Login fails");
    scene.assert_incidents(1, 1).await;
}

#[tokio::test]
async fn a_ticket_is_linked_to_an_agile_runs_step() {
    let scene = Scene::new().await;
    assert_seed_pair(&scene, Example::of("LinkTicketToAgileRunStep", 0)).await;
    scene.assert_incidents(1, 1).await;
}

#[tokio::test]
async fn a_ticket_is_linked_to_a_result_node() {
    let scene = Scene::new().await;
    assert_seed_pair(&scene, Example::of("LinkTicketToAutomatedTestRunResultNode", 0)).await;
    scene.assert_incidents(1, 1).await;
}

#[tokio::test]
async fn an_incident_is_created_for_a_ticket() {
    let scene = Scene::new().await;
    let incident = assert_seed_pair(&scene, Example::of("CreateTicketLink", 0)).await;
    assert_eq!((&incident["Key"], &incident["TicketId"]), (&json!("OTH-9"), &json!("12345")));
    scene.assert_incidents(1, 0).await;
}

#[tokio::test]
async fn a_search_results_link_starts_the_same_task_with_nothing_done_yet() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    Mock::given(method("GET"))
        .and(path("/rest/api/2/search"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({
            "startAt": 0, "maxResults": 20, "total": 1, "issues": [jira_issue("12345", "OTH-9", "Logout fails")]})))
        .mount(&scene.second)
        .await;
    let (status, found) = stage.get(&format!("/api/externalsystemlink/{SECOND_LINK}/tickets?q=logout")).await;
    assert_eq!(status, 200, "{found}");
    let ticket = &found["Items"][0];
    assert_eq!((&ticket["Id"], &ticket["Key"]), (&json!("12345"), &json!("OTH-9")));
    let link = &ticket["Links"][0];
    assert_eq!(link["Rel"], "StartCreateIncident");
    let address = link["Href"].as_str().expect("an address");
    assert_eq!(address, format!("{}/api/externalsystemlink/{SECOND_LINK}/ticket/12345/link", stage.base_url));

    let response = stage.http.post(address).send().await.expect("an answer");
    assert_eq!(response.status(), 202);
    let location = response.headers()["location"].to_str().expect("text").to_owned();
    let body: Value = response.json().await.expect("JSON");
    assert!(body["Id"].as_str().expect("an id").starts_with("ticketlinking_"));
    let id = body["Id"].as_str().expect("an id");
    assert_eq!(location, format!("{}/api/{id}", stage.base_url), "as the task's own example has it");
    assert_eq!(body["Self"], format!("{}/api/backgroundtask/{id}", stage.base_url));
    assert_eq!((&body["TotalElements"], &body["ProcessedElements"]), (&json!(0), &json!(0)));
    assert_eq!((&body["ProgressInPercent"], &body["Message"]), (&json!(0.0), &Value::Null));

    let _worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(&body).await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
    assert_eq!((&ended["TotalElements"], &ended["ProcessedElements"]), (&json!(2), &json!(2)));
    assert!(ended["IncidentId"].is_string());
    scene.assert_incidents(1, 0).await;
}

#[tokio::test]
async fn one_incident_serves_every_place_where_its_ticket_was_found() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let _worker = stage.worker(quick_worker()).await;
    let mut incidents = Vec::new();
    for request in [
        json!({"Type": "LinkTicketToStepResult", "Parameters": {"StepResultId": STEP_RESULT, "Key": "TST-123"}}),
        json!({"Type": "LinkTicketToAgileRunStep", "Parameters": {
            "AgileRunId": AGILE_RUN, "StepId": AGILE_RUN_STEP, "Key": "TST-123"}}),
        json!({"Type": "LinkTicketToAutomatedTestRunResultNode", "Parameters": {
            "AutomatedTestRunId": TEST_RUN, "ResultNodeId": RESULT_NODE, "Key": "TST-123"}}),
    ] {
        let ended = stage.ended(&stage.start(&request).await).await;
        assert_eq!(ended["State"], "Succeeded", "{ended}");
        incidents.push(ended["IncidentId"].clone());
    }
    incidents.dedup();
    assert_eq!(incidents.len(), 1);
    scene.assert_incidents(1, 3).await;
}
