//! The seed's five examples, and the link of a ticket search result.

use serde_json::{Value, json};
use uuid::Uuid;
use wiremock::matchers::{method, path};
use wiremock::{Mock, ResponseTemplate};

use longhaul_tests::quick_worker;

use crate::scene::*;

/// What the seed shows of an answer; the rest differs from call to call.
struct Shown {
    prefix: &'static str,
    total: i64,
    processed: i64,
    fraction: f64,
    message: &'static str,
}

fn link_shown(prefix: &'static str) -> Shown {
    Shown { prefix, total: 3, processed: 2, fraction: 0.67, message: "Creating link" }
}

/// POSTs as the seed does, compares with what it shows, and lets the task run.
async fn assert_seed_pair(scene: &Scene, request: Value, shown: Shown) -> Value {
    let stage = &scene.stage;
    let response = stage
        .http
        .post(format!("{}/api/backgroundtasks", stage.base_url))
        .header("Accept", "application/json")
        .header("Content-type", "application/json")
        .body(request.to_string())
        .send()
        .await
        .expect("an answer");
    let status = response.status();
    let location = response.headers().get("location").map(|value| value.to_str().expect("text").to_owned());
    let content_type = response.headers()["content-type"].clone();
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(status, 202, "{body}");
    assert_eq!(content_type, "application/json; charset=utf-8");
    let id = body["Id"].as_str().expect("an id");
    let guid = id.strip_prefix(shown.prefix).expect("the prefix of the seed");
    assert_eq!(Uuid::try_parse(guid).expect("a guid").to_string(), guid);
    let self_url = format!("{}/api/backgroundtask/{id}", stage.base_url);
    assert_eq!(location.as_deref(), Some(self_url.as_str()));
    let seed = json!({
        "Complete": false, "TotalElements": shown.total, "ProcessedElements": shown.processed,
        "StartedAt": body["StartedAt"], "ProgressInPercent": shown.fraction, "Id": id, "Message": shown.message,
        "Self": self_url,
    });
    for (name, value) in seed.as_object().expect("an object") {
        assert_eq!(&body[name], value, "{name}");
    }
    // Nothing is written before the worker runs.
    scene.assert_incidents(0, 0).await;
    let (_, same) = stage.get(&self_url).await;
    assert_eq!(same, body);

    let worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(&body).await;
    worker.stop().await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
    assert_eq!((&ended["ProgressInPercent"], &ended["ProcessedElements"]), (&json!(1.0), &json!(shown.total)));
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
    let request =
        json!({"Type": "LinkTicketToStepResult", "Parameters": {"StepResultId": STEP_RESULT, "Key": "TST-123"}});
    let incident = assert_seed_pair(&scene, request, link_shown("linktickettostepresult_")).await;
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
    let request = json!({"Type": "LinkTicketToStepResult", "Parameters": {
        "StepResultId": STEP_RESULT, "ExternalSystemLinkId": FIRST_LINK, "Key": "TST-123"}});
    let incident = assert_seed_pair(&scene, request, link_shown("linktickettostepresult_")).await;
    assert_eq!(incident["Name"], "Login fails");
    scene.assert_incidents(1, 1).await;
}

#[tokio::test]
async fn a_ticket_is_linked_to_an_agile_runs_step() {
    let scene = Scene::new().await;
    let request = json!({"Type": "LinkTicketToAgileRunStep", "Parameters": {
        "AgileRunId": AGILE_RUN, "StepId": AGILE_RUN_STEP, "Key": "TST-123"}});
    assert_seed_pair(&scene, request, link_shown("linktickettoagilerunstep_")).await;
    scene.assert_incidents(1, 1).await;
}

#[tokio::test]
async fn a_ticket_is_linked_to_a_result_node() {
    let scene = Scene::new().await;
    let request = json!({"Type": "LinkTicketToAutomatedTestRunResultNode", "Parameters": {
        "AutomatedTestRunId": TEST_RUN, "ResultNodeId": RESULT_NODE, "Key": "TST-123"}});
    assert_seed_pair(&scene, request, link_shown("linktickettoautomatedtestrunresultnode_")).await;
    scene.assert_incidents(1, 1).await;
}

#[tokio::test]
async fn an_incident_is_created_for_a_ticket() {
    let scene = Scene::new().await;
    let request = json!({"Type": "CreateTicketLink", "Parameters": {
        "TicketId": "12345", "ExternalSystemLinkId": SECOND_LINK}});
    let shown =
        Shown { prefix: "ticketlinking_", total: 2, processed: 1, fraction: 0.34, message: "Creating incident" };
    let incident = assert_seed_pair(&scene, request, shown).await;
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
    assert_eq!(body["Self"], location);
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
