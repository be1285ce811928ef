//! A project with two trackers that answer in the shape of Jira, and the
//! records of the seed's examples.

use std::time::Duration;

use longhaul_model::Resources;
use longhaul_test_management::trackers::{SecretKey, TrackerSettings, Trackers};
use longhaul_tests::{Stage, fill_project, shipped};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

pub(crate) const PROJECT: Uuid = uuid!("c651ed19-5375-475a-a539-9f6401467130");
/// The seed's ids.
pub(crate) const STEP_RESULT: Uuid = uuid!("ad3c8f9a-6959-4226-9b47-a0a601595de4");
pub(crate) const AGILE_RUN: Uuid = uuid!("161e7eed-2cd7-45cc-97d9-a00f010e3aa4");
pub(crate) const AGILE_RUN_STEP: Uuid = uuid!("79853241-febd-4f5d-93bf-4d380d024206");
pub(crate) const TEST_RUN: Uuid = uuid!("ad3c8f9a-6959-4226-9b47-a0a601595de4");
pub(crate) const RESULT_NODE: Uuid = uuid!("3aaf3505-85ca-43c4-a822-fe468118aab7");
/// The link that decides between trackers in the seed's second example.
pub(crate) const FIRST_LINK: Uuid = uuid!("d8e4c6a3-5287-4b38-82f8-7791adcb6dc9");
/// The link in the seed's CreateTicketLink.
pub(crate) const SECOND_LINK: Uuid = uuid!("3aaf3505-85ca-43c4-a822-fe468118aab7");

/// What the tests' trackers want to hear.
pub(crate) const SECRET: &str = "a-secret-that-no-answer-shows";

pub(crate) struct Scene {
    pub(crate) stage: Stage,
    /// Knows TST-123 (id 10123).
    pub(crate) first: MockServer,
    /// Knows OTH-9 (id 12345).
    pub(crate) second: MockServer,
}

/// How trackers are asked in tests.
pub(crate) fn settings() -> TrackerSettings {
    TrackerSettings {
        secret_key: Some(SecretKey::parse(&"5a".repeat(32)).expect("a key")),
        allow_private: true,
        deadline: Duration::from_secs(20),
        ..TrackerSettings::default()
    }
}

pub(crate) async fn stage(settings: TrackerSettings) -> Stage {
    let trackers = Trackers::new(settings).expect("a client");
    Stage::builder(shipped::registry()).resources(Resources::new().with(trackers)).start().await
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(settings()).await
    }

    pub(crate) async fn with(settings: TrackerSettings) -> Self {
        let stage = stage(settings).await;
        fill_project(&stage.pool, PROJECT, 0).await;
        let (first, second) = (MockServer::start().await, MockServer::start().await);
        for (link, server) in [(FIRST_LINK, &first), (SECOND_LINK, &second)] {
            connect(&stage, link, PROJECT, "JiraDataCenter", &server.uri(), None).await;
        }
        serve_issue(&first, "10123", "TST-123", "Login fails").await;
        serve_issue(&second, "12345", "OTH-9", "Logout fails").await;
        create(
            &stage,
            "scriptassignments",
            json!({"ProjectId": PROJECT, "Name": "Smoke", "StepResults": [
                {"Id": STEP_RESULT, "Name": "Log in", "Status": "Failed"}, {"Name": "Log out"}]}),
        )
        .await;
        create(
            &stage,
            "agileruns",
            json!({"Id": AGILE_RUN, "ProjectId": PROJECT, "Name": "Sprint 1", "Steps": [{"Id": AGILE_RUN_STEP, "Name": "Try"}]}),
        )
        .await;
        create(
            &stage,
            "automatedtestruns",
            json!({"Id": TEST_RUN, "ProjectId": PROJECT, "Name": "Nightly", "Nodes": [
                {"Name": "suite", "Nodes": [{"Id": RESULT_NODE, "Name": "test_login", "Status": "Failed"}]}]}),
        )
        .await;
        Self { stage, first, second }
    }

    /// What must hold whatever happened: no half-written incident or link.
    pub(crate) async fn assert_incidents(&self, incidents: i64, links: i64) {
        let found: (i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM records.incident),
                    (SELECT count(*) FROM records.entity WHERE kind = 'Incident'),
                    (SELECT count(*) FROM records.incident_link)",
        )
        .fetch_one(&self.stage.pool)
        .await
        .expect("counts");
        assert_eq!(found, (incidents, incidents, links), "incidents, their entities, links");
    }
}

pub(crate) async fn post(stage: &Stage, path: &str, body: &Value) -> (u16, Value) {
    let response =
        stage.http.post(format!("{}/api/{path}", stage.base_url)).json(body).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

pub(crate) async fn create(stage: &Stage, path: &str, body: Value) -> Value {
    let (status, created) = post(stage, path, &body).await;
    assert_eq!(status, 201, "{body} was answered by {created}");
    created
}

/// Connects a project with a tracker at this address, under this link id.
pub(crate) async fn connect(stage: &Stage, link: Uuid, project: Uuid, kind: &str, url: &str, remote: Option<&str>) {
    let system = create(
        stage,
        "externalsystems",
        json!({"Name": format!("Tracker at {url}"), "Kind": kind, "BaseUrl": url, "Credentials": {"Secret": SECRET}}),
    )
    .await;
    let body = json!({"Id": link, "ProjectId": project, "ExternalSystemId": system["Id"], "RemoteProject": remote});
    create(stage, "externalsystemlinks", body).await;
}

/// An issue in the shape of Jira's documented answers, written by hand.
pub(crate) fn jira_issue(id: &str, key: &str, summary: &str) -> Value {
    let project = key.split('-').next().unwrap_or_default();
    json!({
        "expand": "renderedFields,names,schema,operations,editmeta,changelog,versionedRepresentations",
        "id": id,
        "self": format!("https://jira.example/rest/api/2/issue/{id}"),
        "key": key,
        "fields": {
            "summary": summary,
            "updated": "2024-03-01T10:00:00.000+0100",
            "status": {
                "self": "https://jira.example/rest/api/2/status/10000", "description": "",
                "iconUrl": "https://jira.example/", "name": "To Do", "id": "10000",
                "statusCategory": {"id": 2, "key": "new", "colorName": "default", "name": "To Do"}
            },
            "project": {"self": "https://jira.example/rest/api/2/project/10000", "id": "10000", "key": project, "name": "Test"}
        }
    })
}

/// The tracker knows this issue by id and by key. Everything else is a 404, as
/// wiremock and Jira have it.
pub(crate) async fn serve_issue(server: &MockServer, id: &str, key: &str, summary: &str) {
    for name in [id, key] {
        Mock::given(method("GET"))
            .and(path(format!("/rest/api/2/issue/{name}")))
            .respond_with(ResponseTemplate::new(200).set_body_json(jira_issue(id, key, summary)))
            .mount(server)
            .await;
    }
}
