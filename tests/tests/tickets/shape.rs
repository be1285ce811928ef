//! Jira and GitLab by the shapes of the answers, and the names of the parameters,
//! that their published documents show (docs/records.md names them); no live one was
//! asked.

use longhaul_tests::{Stage, fill_project, quick_worker};
use serde_json::{Value, json};
use wiremock::matchers::{basic_auth, header, method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::scene::*;

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

/// What was asked of a server at a path: the names of its query's parameters.
async fn asked(server: &MockServer, path: &str) -> Vec<String> {
    let requests = server.received_requests().await.expect("requests");
    let queries = requests.iter().filter(|request| request.url.path() == path);
    queries
        .flat_map(|request| request.url.query_pairs().map(|(name, _)| name.into_owned()).collect::<Vec<_>>())
        .collect()
}

/// An issue with the members that the example of `GET /rest/api/3/search/jql` in
/// Atlassian's document has, as far as these fields are asked for.
fn jira_cloud_issue(id: &str, key: &str, updated: Value) -> Value {
    let avatars = json!({"16x16": "https://jira.example/a?size=xsmall", "48x48": "https://jira.example/a?size=large"});
    json!({
        "expand": "", "id": id, "key": key, "self": format!("https://jira.example/rest/api/3/issue/{id}"),
        "fields": {
            "summary": format!("Summary of {key}"), "updated": updated,
            "status": {
                "self": "https://jira.example/rest/api/3/status/1", "id": "1", "name": "Open", "description": "",
                "iconUrl": "https://jira.example/open.png",
                "statusCategory": {"id": 2, "key": "new", "colorName": "blue-gray", "name": "To Do"}},
            "project": {
                "avatarUrls": avatars, "id": "10000", "insight": {"totalIssueCount": 100}, "key": "TST", "name": "Test",
                "projectCategory": {"id": "10000", "name": "FIRST", "description": ""}, "simplified": false,
                "self": "https://jira.example/rest/api/3/project/TST", "style": "classic"}
        }
    })
}

#[tokio::test]
async fn a_search_in_jira_cloud_goes_on_to_the_next_page() {
    let (stage, server) = connected("JiraCloud", Some("TST")).await;
    let search = "/rest/api/3/search/jql";
    let issue = jira_cloud_issue("10001", "TST-1", json!("2021-04-22T05:37:05.000+0000"));
    Mock::given(method("GET"))
        .and(path(search))
        .and(query_param("jql", r#"project = "TST" AND text ~ "login fails" ORDER BY updated DESC"#))
        .and(query_param("fields", "summary,status,updated,project"))
        .and(query_param("maxResults", "3"))
        .and(query_param_is_missing("nextPageToken"))
        .respond_with(
            ResponseTemplate::new(200)
                .set_body_json(json!({"isLast": false, "nextPageToken": "CAEaAggB", "issues": [issue]})),
        )
        .mount(&server)
        .await;
    let issues = [jira_cloud_issue("10002", "TST-2", json!(1)), jira_cloud_issue("10003", "TST-3", Value::Null)];
    Mock::given(method("GET"))
        .and(path(search))
        .and(query_param("nextPageToken", "CAEaAggB"))
        .and(query_param("maxResults", "2"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"isLast": true, "issues": issues})))
        .mount(&server)
        .await;
    let (status, found) =
        stage.get(&format!("/api/externalsystemlink/{FIRST_LINK}/tickets?q=Login+fails!&limit=3")).await;
    assert_eq!(status, 200, "{found}");
    let keys: Vec<&str> =
        found["Items"].as_array().expect("items").iter().filter_map(|item| item["Key"].as_str()).collect();
    assert_eq!(keys, ["TST-1", "TST-2", "TST-3"]);
    assert_eq!(found["Items"][0]["UpdatedAt"], "2021-04-22T05:37:05Z");
    assert_eq!((&found["Items"][1]["UpdatedAt"], &found["Items"][0]["Status"]), (&Value::Null, &json!("Open")));
    let documented = [
        "jql",
        "nextPageToken",
        "maxResults",
        "fields",
        "expand",
        "properties",
        "fieldsByKeys",
        "failFast",
        "reconcileIssues",
    ];
    for name in asked(&server, search).await {
        assert!(documented.contains(&name.as_str()), "{name} is no parameter of {search}");
    }
}

#[tokio::test]
async fn a_search_in_jira_data_center_takes_one_page() {
    let (stage, server) = connected("JiraDataCenter", None).await;
    let search = "/rest/api/2/search";
    Mock::given(method("GET"))
        .and(path(search))
        .and(query_param("jql", r#"text ~ "login" ORDER BY updated DESC"#))
        .and(query_param("maxResults", "20"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({
            "expand": "names,schema", "startAt": 0, "maxResults": 20, "total": 1,
            "issues": [jira_issue("10123", "TST-123", "Login fails")]})))
        .mount(&server)
        .await;
    let (status, found) = stage.get(&format!("/api/externalsystemlink/{FIRST_LINK}/tickets?q=login")).await;
    assert_eq!((status, &found["Items"][0]["Key"]), (200, &json!("TST-123")), "{found}");
    let documented = ["jql", "startAt", "maxResults", "validateQuery", "fields", "expand"];
    for name in asked(&server, search).await {
        assert!(documented.contains(&name.as_str()), "{name} is no parameter of {search}");
    }
}

/// An issue with the members that the example of "Single project issue" in GitLab's
/// documentation has.
fn gitlab_issue() -> Value {
    json!({
        "id": 83, "iid": 7, "project_id": 4, "title": "Login fails", "description": "…", "state": "opened",
        "created_at": "2023-01-02T03:04:05.678Z", "updated_at": "2023-01-03T03:04:05.678Z", "closed_at": null,
        "closed_by": null, "milestone": null, "assignees": [], "assignee": null, "labels": ["bug"], "upvotes": 4,
        "downvotes": 0, "merge_requests_count": 0, "subscribed": false, "user_notes_count": 1, "due_date": null,
        "author": {
            "id": 1, "username": "root", "name": "Administrator", "state": "active", "avatar_url": null,
            "web_url": "https://gitlab.example/root"},
        "type": "ISSUE", "web_url": "https://gitlab.example/group/app/-/issues/7",
        "references": {"short": "#7", "relative": "#7", "full": "group/app#7"}, "confidential": false,
        "time_stats": {
            "time_estimate": 0, "total_time_spent": 0, "human_time_estimate": null, "human_total_time_spent": null},
        "discussion_locked": false, "task_completion_status": {"count": 0, "completed_count": 0},
        "_links": {
            "self": "https://gitlab.example/api/v4/projects/4/issues/7",
            "notes": "https://gitlab.example/api/v4/projects/4/issues/7/notes",
            "award_emoji": "https://gitlab.example/api/v4/projects/4/issues/7/award_emoji",
            "project": "https://gitlab.example/api/v4/projects/4"}
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
    for name in asked(&server, issues).await {
        assert!(["search", "order_by", "per_page"].contains(&name.as_str()), "{name} is no parameter of {issues}");
    }
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
