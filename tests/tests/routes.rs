//! Every operation × no, bad, expired, revoked, weak and right credentials. An
//! operation without a row fails the test.

use std::collections::BTreeMap;

use longhaul_api::Rate;
use longhaul_api::access::Keys;
use longhaul_api::session::{Login, SessionSettings};
use longhaul_model::store::api_key;
use longhaul_tests::{SERVER_SECRET, Stage, address, keys_only, make_key, shipped};
use serde_json::{Value, json};

/// What an operation asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Needs {
    /// Nothing.
    Nothing,
    /// To be someone. What the handler asks for besides is tested elsewhere
    /// (permissions.rs): of task types, and whose tasks they are.
    Someone,
    /// This permission, in all projects.
    Permission(&'static str),
    /// All of these, in all projects.
    All(&'static [&'static str]),
    /// This permission, in some project.
    Somewhere(&'static str),
}

use Needs::{All, Nothing, Permission, Someone, Somewhere};

const VIEW_TASKS: Needs = Permission("Administration/Tasks/View");
const VIEW_DASHBOARD: Needs = Permission("Administration/Dashboard/View");
const QUEUES_PAGE: Needs = All(&["Administration/Dashboard/View", "Administration/Queues/View"]);
const SCHEDULES_PAGE: Needs = All(&["Administration/Dashboard/View", "Administration/Schedules/View"]);
const VIEW_QUEUES: Needs = Permission("Administration/Queues/View");
const EDIT_QUEUES: Needs = Permission("Administration/Queues/Edit");
const VIEW_SCHEDULES: Needs = Permission("Administration/Schedules/View");
const EDIT_SCHEDULES: Needs = Permission("Administration/Schedules/Edit");
const VIEW_SOME_RECORDS: Needs = Somewhere("TestManagement/Records/View");
const EDIT_RECORDS: Needs = Permission("TestManagement/Records/Edit");
const EDIT_TESTS: Needs = Permission("TestManagement/ManageAutomatedTests/Edit");
const VIEW_SYSTEMS: Needs = Permission("Administration/ExternalSystems/View");
const VIEW_SOME_SYSTEMS: Needs = Somewhere("Administration/ExternalSystems/View");
const EDIT_WEBHOOKS: Needs = Permission("Administration/Webhooks/Edit");
const EDIT_SYSTEMS: Needs = Permission("Administration/ExternalSystems/Edit");

/// By operation id, without `Alias` and `Head`.
const TABLE: &[(&str, Needs)] = &[
    // Tasks.
    ("startTask", Someone),
    ("startTasks", Someone),
    ("getTask", Someone),
    ("cancelTask", Someone),
    ("retryTask", Someone),
    ("streamTask", Someone),
    ("getTaskLog", Someone),
    ("listChildren", Someone),
    ("listDependencies", Someone),
    ("listTasks", VIEW_TASKS),
    ("startCreateIncident", Someone),
    // Queues, workers, schedules.
    ("listQueues", VIEW_QUEUES),
    ("getQueue", VIEW_QUEUES),
    ("changeQueue", EDIT_QUEUES),
    ("listTypes", VIEW_QUEUES),
    ("pauseType", EDIT_QUEUES),
    ("resumeType", EDIT_QUEUES),
    ("listWorkers", VIEW_QUEUES),
    ("getOverview", VIEW_QUEUES),
    ("getFindings", VIEW_QUEUES),
    ("listAudit", Permission("Administration/Audit/View")),
    ("getMetrics", Permission("Administration/Metrics/View")),
    ("listSchedules", VIEW_SCHEDULES),
    ("getSchedule", VIEW_SCHEDULES),
    ("createSchedule", EDIT_SCHEDULES),
    ("putSchedule", EDIT_SCHEDULES),
    ("deleteSchedule", EDIT_SCHEDULES),
    ("pauseSchedule", EDIT_SCHEDULES),
    ("resumeSchedule", EDIT_SCHEDULES),
    ("runSchedule", EDIT_SCHEDULES),
    // What everyone may know.
    ("getOpenApi", Nothing),
    ("getDocs", Nothing),
    ("getDocsFile", Nothing),
    ("getBook", Nothing),
    ("getBookStyle", Nothing),
    ("getBookPage", Nothing),
    ("getBookDecision", Nothing),
    ("isLive", Nothing),
    ("isReady", Nothing),
    // The dashboard.
    ("showOverview", VIEW_DASHBOARD),
    ("showTasks", VIEW_DASHBOARD),
    ("askAboutTasks", VIEW_DASHBOARD),
    ("cancelShownTasks", VIEW_DASHBOARD),
    ("retryShownTasks", VIEW_DASHBOARD),
    ("showTask", VIEW_DASHBOARD),
    ("cancelShownTask", VIEW_DASHBOARD),
    ("retryShownTask", VIEW_DASHBOARD),
    ("showQueues", QUEUES_PAGE),
    ("changeShownQueue", EDIT_QUEUES),
    ("showSchedules", SCHEDULES_PAGE),
    ("changeShownSchedule", EDIT_SCHEDULES),
    ("showWorkers", QUEUES_PAGE),
    ("showSearch", VIEW_DASHBOARD),
    ("getAsset", Nothing),
    // Records.
    ("search", Somewhere("TestManagement/Records/View")),
    ("searchTickets", Somewhere("TestManagement/ManageIncidents/Edit")),
    ("createUpload", Somewhere("TestManagement/ManageAutomatedTests/Edit")),
    ("listUploads", VIEW_SOME_RECORDS),
    ("getUpload", VIEW_SOME_RECORDS),
    ("deleteUpload", Somewhere("TestManagement/ManageAutomatedTests/Edit")),
    ("listExternalSystems", VIEW_SYSTEMS),
    ("getExternalSystem", VIEW_SYSTEMS),
    ("createExternalSystem", EDIT_SYSTEMS),
    ("changeExternalSystem", EDIT_SYSTEMS),
    ("deleteExternalSystem", EDIT_SYSTEMS),
    ("listExternalSystemLinks", VIEW_SOME_SYSTEMS),
    ("getExternalSystemLink", VIEW_SOME_SYSTEMS),
    ("createExternalSystemLink", EDIT_SYSTEMS),
    ("changeExternalSystemLink", EDIT_SYSTEMS),
    ("deleteExternalSystemLink", EDIT_SYSTEMS),
    ("listWebhooks", EDIT_WEBHOOKS),
    ("getWebhook", EDIT_WEBHOOKS),
    ("createWebhook", EDIT_WEBHOOKS),
    ("changeWebhook", EDIT_WEBHOOKS),
    ("deleteWebhook", EDIT_WEBHOOKS),
    ("getWebhookSecret", EDIT_WEBHOOKS),
    ("pingWebhook", EDIT_WEBHOOKS),
    ("listWebhookDeliverys", EDIT_WEBHOOKS),
    ("getWebhookDelivery", EDIT_WEBHOOKS),
    ("replayWebhookDelivery", EDIT_WEBHOOKS),
    ("listScriptAssignments", VIEW_SOME_RECORDS),
    ("getScriptAssignment", VIEW_SOME_RECORDS),
    ("createScriptAssignment", EDIT_RECORDS),
    ("deleteScriptAssignment", EDIT_RECORDS),
    ("listAgileRuns", VIEW_SOME_RECORDS),
    ("getAgileRun", VIEW_SOME_RECORDS),
    ("createAgileRun", EDIT_RECORDS),
    ("deleteAgileRun", EDIT_RECORDS),
    ("listAutomatedTestRuns", VIEW_SOME_RECORDS),
    ("getAutomatedTestRun", VIEW_SOME_RECORDS),
    ("createAutomatedTestRun", EDIT_TESTS),
    ("deleteAutomatedTestRun", EDIT_TESTS),
    ("listResultNodes", VIEW_SOME_RECORDS),
    ("getResultNode", VIEW_SOME_RECORDS),
    ("listIncidents", VIEW_SOME_RECORDS),
    ("getIncident", VIEW_SOME_RECORDS),
    ("changeIncident", Permission("TestManagement/ManageIncidents/Edit")),
    ("deleteIncident", Permission("TestManagement/ManageIncidents/Edit")),
    ("listIncidentLinks", VIEW_SOME_RECORDS),
    ("getIncidentLink", VIEW_SOME_RECORDS),
    ("deleteIncidentLink", EDIT_RECORDS),
];

/// Method, path and what it needs of every operation of the document.
fn operations(document: &Value) -> Vec<(String, String, Needs)> {
    let mut table: BTreeMap<&str, Needs> = BTreeMap::new();
    for (id, needs) in TABLE {
        assert!(table.insert(id, *needs).is_none(), "{id} has two rows");
    }
    let (mut found, mut used) = (Vec::new(), Vec::new());
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let id = operation["operationId"].as_str().expect("an id");
            let id = id.trim_end_matches("Alias").trim_end_matches("Head");
            let needs = *table.get(id).unwrap_or_else(|| panic!("{method} {path}: {id} has no row in this table"));
            let named = match needs {
                Nothing => json!([]),
                Someone => json!([{"bearer": []}, {"basic": []}]),
                Permission(name) | Somewhere(name) => json!([{"bearer": [name]}, {"basic": [name]}]),
                All(names) => json!([{"bearer": names}, {"basic": names}]),
            };
            assert_eq!(operation["security"], named, "{method} {path}");
            used.push(id);
            found.push((method.to_uppercase(), address(document, path), needs));
        }
    }
    for (id, _) in TABLE {
        assert!(used.contains(id), "there is no operation {id}");
    }
    found
}

#[tokio::test]
async fn every_operation_asks_for_what_its_row_says() {
    let stage = Stage::builder(shipped::registry()).authenticators(keys_only).start().await;
    let key = async |name: &str, permissions: &[&str]| {
        make_key(&stage.pool, name, permissions, None, Some(SERVER_SECRET)).await.expose().to_owned()
    };
    let (expired, revoked) = (key("expired", &["*"]).await, key("revoked", &["*"]).await);
    sqlx::query("UPDATE longhaul.api_key SET expires_at = now() WHERE name = 'expired'")
        .execute(&stage.pool)
        .await
        .expect("set");
    api_key::revoke(&stage.pool, "revoked", None).await.expect("revoked");
    let weak = key("weak", &["Nothing/Of/This"]).await;
    let project = [uuid::Uuid::from_u128(1)];
    let limited = make_key(&stage.pool, "limited", &["*"], Some(&project), Some(SERVER_SECRET)).await;
    let mut right: BTreeMap<&str, String> = BTreeMap::new();
    let all = operations(&stage.openapi);
    for (_, _, needs) in &all {
        let names = match needs {
            Permission(name) | Somewhere(name) => vec![*name],
            All(names) => names.to_vec(),
            Nothing | Someone => continue,
        };
        for name in names {
            if !right.contains_key(name) {
                right.insert(name, key(&format!("right-{}", right.len()), &[name]).await);
            }
        }
    }
    // What answers look like is held against the document elsewhere.
    let client = longhaul_tests::http_client().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
    let client = client.expect("a client");
    let answer = async |method: &str, path: &str, key: Option<&str>| {
        let request = client.request(method.parse().expect("a method"), format!("{}{path}", stage.base_url));
        // Forms of the dashboard are refused to other sites, whoever asks.
        let request = request.header("sec-fetch-site", "same-origin");
        let request = match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let response = request.send().await.expect("an answer");
        let challenge = response.headers().contains_key("www-authenticate");
        let status = response.status().as_u16();
        assert_eq!(challenge, status == 401, "{method} {path}");
        status
    };
    for (method, path, needs) in &all {
        let ask = async |key: Option<&str>| answer(method, path, key).await;
        let wrong = [None, Some("bad"), Some("lh_bad"), Some(expired.as_str()), Some(revoked.as_str())];
        if *needs == Nothing {
            for key in wrong.into_iter().chain([Some(weak.as_str())]) {
                let status = ask(key).await;
                assert!(status != 401 && status != 403, "{method} {path} asks {key:?} who it is: {status}");
            }
            continue;
        }
        for key in wrong {
            assert_eq!(ask(key).await, 401, "{method} {path} with {key:?}");
        }
        let both;
        let entitled = match needs {
            All(names) => {
                for name in *names {
                    assert_eq!(ask(Some(&right[name])).await, 403, "{method} {path} with {name} alone");
                }
                both = key(&format!("all of {path}").replace([' ', '/'], "."), names).await;
                both.as_str()
            }
            Permission(name) | Somewhere(name) => {
                assert_eq!(ask(Some(&weak)).await, 403, "{method} {path} without {name}");
                right[name].as_str()
            }
            _ => weak.as_str(),
        };
        let somewhere = ask(Some(limited.expose())).await;
        match needs {
            Permission(name) => assert_eq!(somewhere, 403, "{method} {path} with {name} in one project"),
            All(names) => assert_eq!(somewhere, 403, "{method} {path} with {names:?} in one project"),
            _ => assert!(somewhere != 401 && somewhere != 403, "{method} {path} in one project: {somewhere}"),
        }
        // There is nothing at most of these addresses, and most bodies are missing: what
        // counts is that the handler was asked.
        let status = ask(Some(entitled)).await;
        assert!(status != 401 && status != 403 && status < 500, "{method} {path} as entitled: {status}");
    }
}

/// The same operations, by callers who may do everything: from another site's page, at a
/// name that is not ours, with a session too, and beside so many requests without credentials.
#[tokio::test]
async fn every_operation_refuses_other_sites_and_names_and_nobody_locks_callers_out() {
    let many = std::num::NonZeroU32::new(1_000_000).expect("many");
    let login = |pool: &sqlx::PgPool| {
        let keys = Keys::new(pool.clone(), Some(SERVER_SECRET));
        Login::new(pool.clone(), SessionSettings::default(), Some(keys), None)
    };
    let stage = Stage::builder(shipped::registry())
        .authenticators(keys_only)
        .login(login)
        .api(move |settings| settings.limits.rate = Some(Rate { per_second: many, burst: many }))
        .start()
        .await;
    let key = make_key(&stage.pool, "all", &["*"], None, Some(SERVER_SECRET)).await;
    let client = longhaul_tests::http_client().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
    let client = client.expect("a client");
    let form = client.post(format!("{}/login", stage.base_url)).header("sec-fetch-site", "same-origin");
    let opened = form.body(format!("key={}", key.expose())).send().await.expect("an answer");
    let set = opened.headers()["set-cookie"].to_str().expect("ASCII").to_owned();
    let cookie = set.split(';').next().expect("a value").to_owned();
    let bearer = format!("Bearer {}", key.expose());

    let mut bare = 0;
    // With a login there are more of them than the table has rows.
    let mut all = Vec::new();
    for (path, item) in stage.openapi["paths"].as_object().expect("paths") {
        let address = address(&stage.openapi, path);
        for (method, operation) in item.as_object().expect("operations") {
            all.push((method.to_uppercase(), address.clone(), operation["security"] == json!([])));
        }
    }
    for (method, path, is_public) in all {
        let ask = async |headers: &[(&str, &str)]| {
            let request = client.request(method.parse().expect("a method"), format!("{}{path}", stage.base_url));
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            request.send().await.expect("an answer").status().as_u16()
        };
        let safe = matches!(method.as_str(), "GET" | "HEAD");
        for credentials in [("authorization", bearer.as_str()), ("cookie", cookie.as_str())] {
            let status = ask(&[credentials, ("origin", "https://evil.example")]).await;
            assert!(
                status == 403 || safe && status != 401,
                "{method} {path} from another site with {}: {status}",
                credentials.0
            );
            let status = ask(&[credentials, ("sec-fetch-site", "same-origin"), ("host", "evil.example")]).await;
            assert!(
                status == 421 || safe && is_public,
                "{method} {path} at another name with {}: {status}",
                credentials.0
            );
        }
        if !is_public {
            // Pages lead to the login.
            let status = ask(&[("sec-fetch-site", "same-origin")]).await;
            assert!(matches!(status, 401 | 303), "{method} {path}: {status}");
            bare += 1;
        }
        // Not those that begin and end sessions.
        if !path.starts_with("/log") {
            for credentials in [("authorization", bearer.as_str()), ("cookie", cookie.as_str())] {
                let status = ask(&[credentials, ("sec-fetch-site", "same-origin")]).await;
                assert!(!matches!(status, 401 | 403 | 421 | 429), "{method} {path} with {}: {status}", credentials.0);
            }
        }
    }
    assert!(bare >= 80, "{bare} requests without credentials");
    for _ in bare..150 {
        let request = client.get(format!("{}/api/queues", stage.base_url));
        assert_eq!(request.send().await.expect("an answer").status(), 401);
    }
    let request = client.get(format!("{}/api/queues", stage.base_url)).bearer_auth(key.expose());
    assert_eq!(request.send().await.expect("an answer").status(), 200);
}
