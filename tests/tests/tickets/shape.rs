//! Jira Cloud and GitLab by the shapes that their documentation shows; no live one was asked.

use longhaul_tests::{Stage, fill_project, quick_worker};
use serde_json::{Value, json};
use wiremock::matchers::{basic_auth, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::scene::*;

/// A stage with one tracker.
async fn connected(kind: &str, remote: Option<&str>) -> (Stage, MockServer) {
    let stage = stage(settings()).await;
    fill_project(&stage.pool, PROJECT, 0).await;
    let server = MockServer::start().await;
    connect(&stage, FIRST_LINK, PROJECT, kind, &server.uri(), remote).await;
    (stage, server)
}

async fn assert_creates(stage: &Stage, ticket_id: &str) -> Value {
    let _worker = stage.worker(quick_worker()).await;
    let parameters = json!({"TicketId": ticket_id, "ExternalSystemLinkId": FIRST_LINK});
    let ended = stage.ended(&stage.start(&json!({"Type": "CreateTicketLink", "Parameters": parameters})).await).await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
    stage.get(&format!("/api/incident/{}", ended["IncidentId"].as_str().expect("an id"))).await.1
}

/// In the shape of GitLab's documented answers, written by hand.
fn gitlab_issue() -> Value {
    json!({
        "id": 83, "iid": 7, "project_id": 4, "title": "Login fails", "description": "…", "state": "opened",
        "created_at": "2023-01-02T03:04:05.678Z", "updated_at": "2023-01-03T03:04:05.678Z", "closed_at": null,
        "labels": [], "author": {"id": 1, "username": "root", "name": "Administrator", "state": "active"},
        "type": "ISSUE", "web_url": "https://gitlab.example/group/app/-/issues/7",
        "references": {"short": "#7", "relative": "#7", "full": "group/app#7"}
    })
}

#[tokio::test]
async fn gitlab_issues_are_found_by_number_and_words() {
    let (stage, server) = connected("GitLab", Some("group/app")).await;
    let issues = "/api/v4/projects/group%2Fapp/issues";
    Mock::given(method("GET"))
        .and(path(format!("{issues}/7")))
        .and(header("private-token", SECRET))
        .respond_with(ResponseTemplate::new(200).set_body_json(gitlab_issue()))
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path(issues))
        .and(query_param("search", "login & out"))
        .and(query_param("per_page", "5"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!([gitlab_issue()])))
        .mount(&server)
        .await;
    let (status, found) =
        stage.get(&format!("/api/externalsystemlink/{FIRST_LINK}/tickets?q=login+%26+out&limit=5")).await;
    assert_eq!(status, 200, "{found}");
    let ticket = &found["Items"][0];
    assert_eq!((&ticket["Id"], &ticket["Key"], &ticket["Status"]), (&json!("7"), &json!("#7"), &json!("opened")));
    assert_eq!(ticket["Url"], "https://gitlab.example/group/app/-/issues/7");
    let incident = assert_creates(&stage, "7").await;
    assert_eq!((&incident["Key"], &incident["Name"]), (&json!("#7"), &json!("Login fails")));
}

#[tokio::test]
async fn a_connection_to_gitlab_needs_its_project() {
    let stage = stage(settings()).await;
    fill_project(&stage.pool, PROJECT, 0).await;
    let system =
        create(&stage, "externalsystems", json!({"Name": "x", "Kind": "GitLab", "BaseUrl": "http://127.0.0.1"})).await;
    let body = json!({"ProjectId": PROJECT, "ExternalSystemId": system["Id"]});
    let (status, problem) = post(&stage, "externalsystemlinks", &body).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!("/RemoteProject")), "{problem}");
}

#[tokio::test]
async fn jira_cloud_is_asked_by_version_3_and_as_its_account() {
    let stage = stage(settings()).await;
    fill_project(&stage.pool, PROJECT, 0).await;
    let server = MockServer::start().await;
    let system = create(
        &stage,
        "externalsystems",
        json!({"Name": "x", "Kind": "JiraCloud", "BaseUrl": format!("{}/", server.uri()),
               "Credentials": {"Username": "me@example.com", "Secret": SECRET}}),
    )
    .await;
    create(
        &stage,
        "externalsystemlinks",
        json!({"Id": FIRST_LINK, "ProjectId": PROJECT, "ExternalSystemId": system["Id"], "RemoteProject": "TST"}),
    )
    .await;
    for name in ["10123", "TST-123"] {
        Mock::given(method("GET"))
            .and(path(format!("/rest/api/3/issue/{name}")))
            .and(basic_auth("me@example.com", SECRET))
            .respond_with(ResponseTemplate::new(200).set_body_json(jira_issue("10123", "TST-123", "Login fails")))
            .mount(&server)
            .await;
    }
    Mock::given(method("GET"))
        .and(path("/rest/api/3/issue/10124"))
        .respond_with(ResponseTemplate::new(200).set_body_json(jira_issue("10124", "OTH-1", "Another project's")))
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path("/rest/api/3/search/jql"))
        .and(query_param("jql", r#"project = "TST" AND text ~ "say \"hi\"" ORDER BY updated DESC"#))
        .respond_with(
            ResponseTemplate::new(200)
                .set_body_json(json!({"isLast": true, "issues": [jira_issue("10123", "TST-123", "Login fails")]})),
        )
        .mount(&server)
        .await;
    let (status, found) = stage.get(&format!("/api/externalsystemlink/{FIRST_LINK}/tickets?q=say+%22hi%22")).await;
    assert_eq!(status, 200, "{found}");
    assert_eq!(found["Items"][0]["Url"], format!("{}/browse/TST-123", server.uri()));
    assert_eq!(found["Items"][0]["UpdatedAt"], "2024-03-01T09:00:00Z");
    assert_eq!(assert_creates(&stage, "10123").await["Key"], "TST-123");
    // A ticket of another project of the same Jira is none of this connection's.
    let parameters = json!({"TicketId": "10124", "ExternalSystemLinkId": FIRST_LINK});
    let response = stage.post(&json!({"Type": "CreateTicketLink", "Parameters": parameters})).await;
    assert_eq!(response.json::<Value>().await.expect("JSON")["code"], "ticket-not-found");
}

#[tokio::test]
async fn a_search_without_words_says_what_is_missing() {
    let (stage, _server) = connected("Redmine", None).await;
    for query in ["", "?q=", "?q=x&limit=0", "?q=x&colour=1", "?q=a%00b"] {
        let (status, problem) = stage.get(&format!("/api/externalsystemlink/{FIRST_LINK}/tickets{query}")).await;
        assert_eq!((status, &problem["code"]), (400, &json!("invalid-request")), "{query}");
    }
    let (status, problem) = stage.get("/api/externalsystemlink/nonsense/tickets?q=x").await;
    assert_eq!((status, &problem["code"]), (404, &json!("unknown-external-system-link")));
}
