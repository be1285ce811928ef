//! The ticket tasks against real Redmine (`tests/redmine/run`): each ends as the
//! contract says, with nothing half-written.

mod redmine;

use std::time::{Duration, Instant};

use longhaul_model::Resources;
use longhaul_test_management::trackers::{SecretKey, TrackerSettings, Trackers};
use longhaul_tests::{Stage, fill_project, quick_worker, shipped, until};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

use crate::redmine::Redmine;

const PROJECT: Uuid = uuid!("c651ed19-5375-475a-a539-9f6401467130");
const STEP: Uuid = uuid!("ad3c8f9a-6959-4226-9b47-a0a601595de4");
const OTHER_STEP: Uuid = uuid!("ad3c8f9a-6959-4226-9b47-a0a601595de5");

/// A stage whose project has two steps and is connected to these.
async fn stage(trackers: &[&Redmine]) -> (Stage, Vec<Uuid>) {
    let settings = TrackerSettings {
        secret_key: Some(SecretKey::parse(&"5a".repeat(32)).expect("a key")),
        allow_private: true,
        deadline: Duration::from_secs(5),
        ..TrackerSettings::default()
    };
    let resources = Resources::new().with(Trackers::new(settings).expect("a client"));
    let stage = Stage::builder(shipped::registry()).resources(resources).start().await;
    fill_project(&stage.pool, PROJECT, 0).await;
    let steps = json!([{"Id": STEP, "Name": "Log in"}, {"Id": OTHER_STEP, "Name": "Log out"}]);
    create(&stage, "scriptassignments", json!({"ProjectId": PROJECT, "Name": "Smoke", "StepResults": steps})).await;
    let mut links = Vec::new();
    for tracker in trackers {
        let system = json!({"Name": tracker.url, "Kind": "Redmine", "BaseUrl": tracker.url,
                            "Credentials": {"Secret": tracker.instance.api_key}});
        let system = create(&stage, "externalsystems", system).await;
        let link = json!({"ProjectId": PROJECT, "ExternalSystemId": system["Id"], "RemoteProject": "shop"});
        let link = create(&stage, "externalsystemlinks", link).await;
        links.push(link["Id"].as_str().expect("an id").parse().expect("a guid"));
    }
    (stage, links)
}

async fn create(stage: &Stage, path: &str, body: Value) -> Value {
    let response =
        stage.http.post(format!("{}/api/{path}", stage.base_url)).json(&body).send().await.expect("an answer");
    let status = response.status();
    let created: Value = response.json().await.expect("JSON");
    assert_eq!(status, 201, "{body}: {created}");
    created
}

fn request(step: Uuid, key: &str) -> Value {
    json!({"Type": "LinkTicketToStepResult", "Parameters": {"StepResultId": step, "Key": key}})
}

async fn assert_refused(stage: &Stage, request: &Value, status: u16, code: &str) {
    let response = stage.post(request).await;
    let found = response.status();
    let body: Value = response.json().await.expect("JSON");
    assert_eq!((found.as_u16(), body["code"].as_str()), (status, Some(code)), "{request}: {body}");
}

async fn assert_incidents(stage: &Stage, incidents: i64, links: i64) {
    let found: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM records.incident), (SELECT count(*) FROM records.entity WHERE kind = 'Incident'),
                (SELECT count(*) FROM records.incident_link)",
    )
    .fetch_one(&stage.pool)
    .await
    .expect("counts");
    assert_eq!(found, (incidents, incidents, links));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_ticket_is_found_linked_and_not_linked_twice() {
    let redmine = Redmine::start("longhaul1").await;
    let (stage, _) = stage(&[&redmine]).await;
    let key = format!("#{}", redmine.instance.issues[0]);
    let accepted = stage.start(&request(STEP, &key)).await;
    assert_eq!((&accepted["ProgressInPercent"], &accepted["Message"]), (&json!(0.67), &json!("Creating link")));
    let _worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(&accepted).await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
    let (_, incident) = stage.get(&format!("/api/incident/{}", ended["IncidentId"].as_str().expect("an id"))).await;
    assert_eq!((&incident["Name"], &incident["Key"]), (&json!("Login fails"), &json!(key)));
    assert_eq!(incident["Fields"]["Ticket"]["Status"], "New");

    assert_refused(&stage, &request(STEP, &key), 500, "already-linked").await;
    assert_refused(&stage, &request(STEP, "#999999"), 500, "ticket-not-found").await;
    assert_refused(&stage, &request(STEP, "nonsense"), 500, "ticket-not-found").await;
    let second = stage.ended(&stage.start(&request(OTHER_STEP, &key)).await).await;
    assert_eq!(second["IncidentId"], ended["IncidentId"], "one incident for one ticket");
    assert_incidents(&stage, 1, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_tickets_are_searched_and_made_incidents() {
    let redmine = Redmine::start("longhaul1").await;
    let (stage, links) = stage(&[&redmine]).await;
    let (status, found) = stage.get(&format!("/api/externalsystemlink/{}/tickets?q=fails", links[0])).await;
    assert_eq!((status, found["Items"].as_array().map(Vec::len)), (200, Some(2)), "{found}");
    let (_, found) = stage.get(&format!("/api/externalsystemlink/{}/tickets?q=%26+payment+%22hang", links[0])).await;
    assert_eq!(found["Items"][0]["Summary"], "Checkout & payment \"hang\"", "{found}");
    let start = found["Items"][0]["Links"][0]["Href"].as_str().expect("an address");
    let response = stage.http.post(start).send().await.expect("an answer");
    assert_eq!(response.status(), 202);
    let body: Value = response.json().await.expect("JSON");
    assert_eq!((&body["TotalElements"], &body["Message"]), (&json!(0), &Value::Null));
    let _worker = stage.worker(quick_worker()).await;
    assert_eq!(stage.ended(&body).await["State"], "Succeeded");
    let synced = stage.ended(&stage.start(&json!({"Type": "SyncIncidents"})).await).await;
    assert_eq!(synced["Result"], json!({"Incidents": 1, "Changed": 0, "Vanished": 0}), "{synced}");
    assert_incidents(&stage, 1, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_in_two_redmines_needs_the_external_system_link() {
    let (first, second) = tokio::join!(Redmine::start("longhaul1"), Redmine::start("longhaul2"));
    let (stage, links) = stage(&[&first, &second]).await;
    let number = second.instance.issues[0];
    assert!(first.instance.issues.contains(&number), "both count from 1");
    let mut request = request(STEP, &format!("#{number}"));
    assert_refused(&stage, &request, 500, "ambiguous-ticket-key").await;
    request["Parameters"]["ExternalSystemLinkId"] = json!(links[1]);
    let _worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(&stage.start(&request).await).await;
    let (_, incident) = stage.get(&format!("/api/incident/{}", ended["IncidentId"].as_str().expect("an id"))).await;
    assert_eq!(incident["Name"], "Another login fails");
    assert_incidents(&stage, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redmine_that_is_down_in_the_middle_is_tried_again() {
    let mut redmine = Redmine::start("longhaul1").await;
    let (stage, _) = stage(&[&redmine]).await;
    let key = format!("#{}", redmine.instance.issues[1]);
    let accepted = stage.start(&request(STEP, &key)).await;
    redmine.die();
    assert_refused(&stage, &request(OTHER_STEP, &key), 503, "unavailable").await;
    let _worker = stage.worker(quick_worker()).await;
    until("the first attempt to fail", async || {
        let (_, body) = stage.get(accepted["Self"].as_str().expect("an address")).await;
        (body["State"] == "Retrying").then_some(())
    })
    .await;
    assert_incidents(&stage, 0, 0).await;
    redmine.come_back().await;
    let ended = stage.ended(&accepted).await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
    assert!(ended["Attempt"].as_i64().expect("a number") > 1);
    assert_incidents(&stage, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redmine_that_does_not_answer_is_a_503_and_nothing_is_stored() {
    let redmine = Redmine::start("longhaul1").await;
    let (stage, _) = stage(&[&redmine]).await;
    let request = request(STEP, &format!("#{}", redmine.instance.issues[2]));
    redmine.freeze();
    let began = Instant::now();
    assert_refused(&stage, &request, 503, "unavailable").await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    redmine.thaw();
    let tasks: i64 = stage.value("SELECT count(*) FROM longhaul.task").await;
    assert_eq!(tasks, 0);
    assert_incidents(&stage, 0, 0).await;
    let _worker = stage.worker(quick_worker()).await;
    assert_eq!(stage.ended(&stage.start(&request).await).await["State"], "Succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_told() {
    let mut redmine = Redmine::start("longhaul1").await;
    redmine.instance.api_key = "0".repeat(40);
    let (stage, _) = stage(&[&redmine]).await;
    assert_refused(&stage, &request(STEP, "#1"), 500, "tracker-refused").await;
}
