//! Changing records: an operator's new credentials, people's own words.

use longhaul_tests::{Stage, fill_project, quick_worker};
use reqwest::Method;
use serde_json::{Value, json};
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::scene::*;

async fn patch(stage: &Stage, path: &str, body: &Value) -> (u16, Value) {
    let request = stage.http.request(Method::PATCH, format!("{}/api/{path}", stage.base_url)).json(body);
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

fn pointers(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().expect("errors").iter().filter_map(|error| error["pointer"].as_str()).collect()
}

/// The one external system of a stage.
async fn system(stage: &Stage) -> Value {
    let (_, list) = stage.get("/api/externalsystems").await;
    list["Items"][0].clone()
}

#[tokio::test]
async fn a_credential_that_was_rotated_is_used_at_once_and_never_shown() {
    let stage = stage(settings()).await;
    fill_project(&stage.pool, PROJECT, 0).await;
    let server = MockServer::start().await;
    connect(&stage, FIRST_LINK, PROJECT, "Redmine", &server.uri(), None).await;
    Mock::given(method("GET"))
        .and(path("/issues.json"))
        .and(header("x-redmine-api-key", "the-new-secret"))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!({"issues": [{"id": 7, "subject": "Login fails"}]})),
        )
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(401)).with_priority(2).mount(&server).await;

    let request =
        json!({"Type": "CreateTicketLink", "Parameters": {"TicketId": "7", "ExternalSystemLinkId": FIRST_LINK}});
    let refused: Value = stage.post(&request).await.json().await.expect("JSON");
    assert_eq!(refused["code"], "tracker-refused", "{refused}");

    let before = system(&stage).await;
    let address = format!("externalsystem/{}", before["Id"].as_str().expect("an id"));
    let (status, changed) = patch(&stage, &address, &json!({"Credentials": {"Secret": "the-new-secret"}})).await;
    assert_eq!((status, &changed), (200, &before), "nothing that is shown has changed");
    assert!(!changed.to_string().contains("secret"), "{changed}");
    let stored: i64 = stage
        .value("SELECT count(*) FROM records.external_system WHERE credentials::text LIKE '%' || encode('the-new-secret', 'hex') || '%'")
        .await;
    assert_eq!(stored, 0, "it is sealed");
    stage.start(&request).await;

    let (status, changed) = patch(&stage, &address, &json!({"Name": "Renamed", "Credentials": null})).await;
    assert_eq!((status, &changed["Name"], &changed["HasCredentials"]), (200, &json!("Renamed"), &json!(false)));
}

#[tokio::test]
async fn a_stored_secret_is_not_sent_to_another_host() {
    let stage = stage(settings()).await;
    fill_project(&stage.pool, PROJECT, 0).await;
    let (server, elsewhere) = (MockServer::start().await, MockServer::start().await);
    connect(&stage, FIRST_LINK, PROJECT, "Redmine", &server.uri(), None).await;
    let before = system(&stage).await;
    let address = format!("externalsystem/{}", before["Id"].as_str().expect("an id"));
    let (status, problem) = patch(&stage, &address, &json!({"BaseUrl": elsewhere.uri()})).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid-request")));
    assert_eq!(pointers(&problem), ["/Credentials"]);
    assert_eq!(system(&stage).await, before);

    // Another path of the same host is none.
    let (status, _) = patch(&stage, &address, &json!({"BaseUrl": format!("{}/redmine", server.uri())})).await;
    assert_eq!(status, 200);
    let moved = json!({"BaseUrl": elsewhere.uri(), "Credentials": {"Secret": "of-that-host"}});
    let (status, changed) = patch(&stage, &address, &moved).await;
    assert_eq!((status, &changed["BaseUrl"]), (200, &json!(elsewhere.uri())));
    assert!(server.received_requests().await.expect("requests").is_empty());
}

#[tokio::test]
async fn bad_changes_are_told_what_is_wrong_and_change_nothing() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let system = format!("externalsystem/{}", system(stage).await["Id"].as_str().expect("an id"));
    let link = format!("externalsystemlink/{FIRST_LINK}");
    for (path, body, expected) in [
        (
            &system,
            json!({"Name": null, "Kind": "GitLab", "Credentials": {"Secret": ""}}),
            vec!["/Credentials/Secret", "/Kind", "/Name"],
        ),
        (&system, json!({"BaseUrl": "ftp://x"}), vec!["/BaseUrl"]),
        (&link, json!({"RemoteProject": "", "ProjectId": PROJECT}), vec!["/ProjectId", "/RemoteProject"]),
    ] {
        let (status, problem) = patch(stage, path, &body).await;
        assert_eq!(status, 400, "{problem}");
        let mut told = pointers(&problem);
        told.sort_unstable();
        told.dedup();
        assert_eq!(told, expected, "{problem}");
    }
    let nobody = "00000000-0000-0000-0000-000000000000";
    for (one, code) in [
        ("externalsystem", "unknown-external-system"),
        ("externalsystemlink", "unknown-external-system-link"),
        ("incident", "unknown-incident"),
    ] {
        let (status, problem) = patch(stage, &format!("{one}/{nobody}"), &json!({})).await;
        assert_eq!((status, &problem["code"]), (404, &json!(code)));
        let (status, _) = patch(stage, &format!("{one}/nonsense"), &json!({})).await;
        assert_eq!(status, 404);
    }
    let (status, changed) = patch(stage, &link, &json!({"RemoteProject": "TST"})).await;
    assert_eq!((status, &changed["RemoteProject"]), (200, &json!("TST")));
    let (status, changed) = patch(stage, &link, &json!({"RemoteProject": null})).await;
    assert_eq!((status, &changed["RemoteProject"]), (200, &Value::Null));
}

#[tokio::test]
async fn a_credential_needs_the_hosts_key_also_when_it_is_changed() {
    let stage = stage(longhaul_test_management::trackers::TrackerSettings { secret_key: None, ..settings() }).await;
    let system =
        create(&stage, "externalsystems", json!({"Name": "x", "Kind": "Redmine", "BaseUrl": "http://127.0.0.1:9"}))
            .await;
    let address = format!("externalsystem/{}", system["Id"].as_str().expect("an id"));
    let (status, problem) = patch(&stage, &address, &json!({"Credentials": {"Secret": "x"}})).await;
    assert_eq!((status, &problem["code"]), (500, &json!("no-secret-key")));
    let (status, _) = patch(&stage, &address, &json!({"BaseUrl": "http://127.0.0.1:10"})).await;
    assert_eq!(status, 200, "there is no secret to protect");
}

#[tokio::test]
async fn what_people_wrote_into_an_incident_outlives_synchronizing() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let _worker = stage.worker(quick_worker()).await;
    let parameters = json!({"TicketId": "10123", "ExternalSystemLinkId": FIRST_LINK});
    let ended = stage.ended(&stage.start(&json!({"Type": "CreateTicketLink", "Parameters": parameters})).await).await;
    let address = format!("incident/{}", ended["IncidentId"].as_str().expect("an id"));
    let change =
        json!({"Name": "Ours", "Description": "Seen on Monday", "Fields": {"Severity": {"Level": 2}, "Old": 1}});
    let (status, changed) = patch(stage, &address, &change).await;
    assert_eq!((status, &changed["Name"]), (200, &json!("Ours")), "{changed}");
    assert_eq!(changed["Fields"]["Description"], "Seen on Monday");
    let (_, changed) = patch(stage, &address, &json!({"Fields": {"Old": null}})).await;
    assert_eq!(changed["Fields"].get("Old"), None);
    assert_eq!(changed["Fields"]["Severity"], json!({"Level": 2}));

    let (status, problem) =
        patch(stage, &address, &json!({"Fields": {"Ticket": {}, "Description": "x"}, "Description": "y"})).await;
    assert_eq!((status, pointers(&problem)), (400, vec!["/Fields/Ticket", "/Fields/Description"]));

    let sync = async || stage.ended(&stage.start(&json!({"Type": "SyncIncidents"})).await).await;
    scene.first.reset().await;
    serve_issue(&scene.first, "10123", "TST-123", "Login fails on Fridays").await;
    assert_eq!(sync().await["Result"]["Changed"], 1);
    let (_, incident) = stage.get(&format!("/api/{address}")).await;
    assert_eq!((&incident["Name"], &incident["Fields"]["Description"]), (&json!("Ours"), &json!("Seen on Monday")));
    assert_eq!(incident["Fields"]["Ticket"]["Summary"], "Login fails on Fridays");

    let (_, incident) = patch(stage, &address, &json!({"Name": null, "Description": null})).await;
    assert_eq!((&incident["Name"], incident["Fields"].get("Description")), (&json!("Login fails on Fridays"), None));
    scene.first.reset().await;
    serve_issue(&scene.first, "10123", "TST-123", "Login works").await;
    sync().await;
    let (_, incident) = stage.get(&format!("/api/{address}")).await;
    assert_eq!(incident["Name"], "Login works", "it follows the ticket again");
}

#[tokio::test]
async fn an_address_is_stored_as_it_was_read_whatever_was_pasted_around_it() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let port = scene.first.address().port();
    for entered in
        [format!("  http://127.0.0.1:{port} "), format!("HTTP://127.0.0.1:{port}/\n"), format!("http:\\\\127.1:{port}")]
    {
        let body = json!({"Name": "x", "Kind": "JiraDataCenter", "BaseUrl": entered, "Credentials": {"Secret": "s\n"}});
        let made = create(stage, "externalsystems", body).await;
        assert_eq!(made["BaseUrl"], json!(scene.first.uri()), "{entered:?}");
        let address = format!("externalsystem/{}", made["Id"].as_str().expect("an id"));
        let (status, changed) = patch(stage, &address, &json!({"BaseUrl": format!(" {entered}")})).await;
        assert_eq!((status, &changed["BaseUrl"]), (200, &json!(scene.first.uri())), "{changed}");
        let (status, problem) = patch(stage, &address, &json!({"Credentials": {"Secret": "two\nlines"}})).await;
        assert_eq!((status, pointers(&problem)), (400, vec!["/Credentials/Secret"]));
        let link = json!({"ProjectId": PROJECT, "ExternalSystemId": made["Id"], "RemoteProject": "  "});
        let (status, problem) = post(stage, "externalsystemlinks", &link).await;
        assert_eq!((status, pointers(&problem)), (400, vec!["/RemoteProject"]));
    }
}
