//! Bad input: every row of the contract's error table that applies so far.

use longhaul_devdb::{Options, Server};
use longhaul_tests::{Stage, shipped, until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

async fn send(
    stage: &Stage,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, Value, reqwest::header::HeaderMap) {
    let mut request = stage.http.request(method, format!("{}{path}", stage.base_url)).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    (status.as_u16(), response.json().await.unwrap_or(Value::Null), headers)
}

/// RFC 9457, and our members.
fn assert_problem(body: &Value, headers: &reqwest::header::HeaderMap, status: u16, code: &str) {
    assert_eq!(headers["content-type"], "application/problem+json; charset=utf-8", "{body}");
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["status"], status);
    assert_eq!(body["type"], format!("urn:longhaul:problem:{code}"));
    let help = body["help"].as_str().expect("an address");
    assert!(help.starts_with("http://") && help.ends_with(&format!("/docs/errors#{code}")), "{help}");
    for member in ["title", "detail", "traceId"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {body}");
    }
}

async fn post(stage: &Stage, body: &str) -> (u16, Value, reqwest::header::HeaderMap) {
    send(stage, Method::POST, "/api/backgroundtasks", &[("content-type", "application/json")], body).await
}

#[tokio::test]
async fn a_body_that_is_something_else_is_called_what_it_is() {
    let stage = Stage::new().await;
    for (body, told) in
        [("\u{feff}{\"Type\": \"Reindex\"}", "byte order mark"), ("PK\u{3}\u{4}x", "a zip file"), ("<a/>", "XML")]
    {
        let (status, problem, _) = post(&stage, body).await;
        assert_eq!((status, &problem["code"]), (400, &serde_json::json!("not-json")));
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(told)), "{problem}");
    }
}

#[tokio::test]
async fn every_bad_request_is_told_what_to_change_and_stores_nothing() {
    let stage = Stage::new().await;
    let cases: &[(&str, &str, &[&str])] = &[
        ("", "not-json", &[]),
        ("{", "not-json", &[]),
        ("{\"Type\": \"Reindex\", \"Parameters\": {\"a\": \"\u{1}\"}}", "not-json", &[]),
        ("[]", "invalid-request", &[""]),
        ("\"Reindex\"", "invalid-request", &[""]),
        ("{}", "invalid-request", &["/Type"]),
        (r#"{"Type": 5}"#, "invalid-request", &["/Type"]),
        (r#"{"Type": "Reindex", "Parameters": []}"#, "invalid-request", &["/Parameters"]),
        (r#"{"Type": "Reindex", "Paramaters": {}}"#, "invalid-request", &["/Paramaters"]),
        (r#"{"Type": 5, "Parameters": 6, "x": 7}"#, "invalid-request", &["/Parameters", "/Type", "/x"]),
        (r#"{"Type": "Reindex", "Parameters": {"a\u0000": 1}}"#, "invalid-request", &["/Parameters"]),
        (r#"{"Type": "Nonsense"}"#, "unknown-task-type", &[]),
        (r#"{"Type": "reindex"}"#, "unknown-task-type", &[]),
        (r#"{"Type": "Reindex", "Parameters": {"Colour": "red"}}"#, "invalid-parameters", &["/Parameters/Colour"]),
        (r#"{"Type": "Reindex", "Parameters": {"ProjectId": "x"}}"#, "invalid-parameters", &["/Parameters/ProjectId"]),
        (r#"{"Type": "Reindex", "Parameters": {"ProjectId": 7}}"#, "invalid-parameters", &["/Parameters/ProjectId"]),
        (
            r#"{"Type": "Reindex", "Parameters": {"Optimize": "yes", "SkipRelationships": 1, "ProjectId": "x", "a/b": 1}}"#,
            "invalid-parameters",
            &["/Parameters/Optimize", "/Parameters/ProjectId", "/Parameters/SkipRelationships", "/Parameters/a~1b"],
        ),
    ];
    for (request, code, pointers) in cases {
        let (status, body, headers) = post(&stage, request).await;
        assert_eq!(status, 400, "{request}");
        assert_problem(&body, &headers, 400, code);
        let mut told: Vec<&str> =
            body["errors"].as_array().into_iter().flatten().filter_map(|error| error["pointer"].as_str()).collect();
        told.sort_unstable();
        assert_eq!(&told, pointers, "{request} was answered by {body}");
        for error in body["errors"].as_array().into_iter().flatten() {
            assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
        }
    }
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0);
}

#[tokio::test]
async fn an_unknown_type_is_told_the_known_ones() {
    let stage = Stage::new().await;
    let (_, body, _) = post(&stage, r#"{"Type": "Nonsense"}"#).await;
    let detail = body["detail"].as_str().expect("a detail");
    assert!(detail.contains("Nonsense") && detail.contains("Reindex"), "{detail}");
}

#[tokio::test]
async fn a_job_that_is_impossible_is_a_500_with_its_code_and_stores_nothing() {
    let stage = Stage::new().await;
    let request = json!({"Type": "Reindex", "Parameters": {"ProjectId": "c651ed19-5375-475a-a539-9f6401467130"}});
    let (status, body, headers) = post(&stage, &request.to_string()).await;
    assert_eq!(status, 500);
    assert_problem(&body, &headers, 500, "unknown-project");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0);
}

#[tokio::test]
async fn what_is_not_there_is_a_404() {
    let stage = Stage::new().await;
    let guid = "7bdba522-590a-4df4-b409-a2939851241b";
    for (path, code) in [
        (format!("/api/backgroundtask/reindex-{guid}"), "unknown-task"),
        (format!("/api/backgroundtask/{guid}"), "unknown-task"),
        (format!("/api/backgroundtask/nonsense-{guid}"), "unknown-task"),
        ("/api/backgroundtask/reindex-1".to_owned(), "unknown-task"),
        ("/api/backgroundtask/%00".to_owned(), "unknown-task"),
        ("/api/nonsense".to_owned(), "unknown-route"),
        ("/nonsense".to_owned(), "unknown-route"),
    ] {
        let (status, body, headers) = send(&stage, Method::GET, &path, &[], "").await;
        assert_eq!(status, 404, "{path}");
        assert_problem(&body, &headers, 404, code);
    }
}

#[tokio::test]
async fn the_prefix_must_be_that_of_the_tasks_type() {
    let stage = Stage::new().await;
    let started = stage.start(&json!({"Type": "Reindex"})).await;
    let id = started["Id"].as_str().expect("an id");
    let (status, _) = stage.get(&format!("/api/backgroundtask/x{id}")).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn wrong_methods_are_told_the_right_ones() {
    let stage = Stage::new().await;
    for (method, path, allow) in [
        (Method::GET, "/api/backgroundtasks", "POST"),
        (Method::DELETE, "/api/backgroundtasks", "POST"),
        (Method::PUT, "/health/live", "GET, HEAD"),
        (Method::POST, "/api/search", "GET, HEAD"),
    ] {
        let (status, body, headers) = send(&stage, method, path, &[], "").await;
        assert_eq!(status, 405, "{path}");
        assert_problem(&body, &headers, 405, "method-not-allowed");
        assert_eq!(headers["allow"], allow);
    }
}

#[tokio::test]
async fn forms_that_are_not_json_are_refused() {
    let stage = Stage::new().await;
    let request = r#"{"Type": "Reindex"}"#;
    let (status, body, headers) =
        send(&stage, Method::POST, "/api/backgroundtasks", &[("content-type", "text/plain")], request).await;
    assert_eq!(status, 415);
    assert_problem(&body, &headers, 415, "unsupported-media-type");

    let accept = [("content-type", "application/json"), ("accept", "text/html")];
    let (status, body, headers) = send(&stage, Method::POST, "/api/backgroundtasks", &accept, request).await;
    assert_eq!(status, 406);
    assert_problem(&body, &headers, 406, "not-acceptable");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_deep_nesting_too() {
    let stage = Stage::new().await;
    let long = format!(r#"{{"Type": "Reindex", "Parameters": {{"ProjectId": "{}"}}}}"#, "x".repeat(2 * 1024 * 1024));
    let (status, body, headers) = post(&stage, &long).await;
    assert_eq!(status, 413);
    assert_problem(&body, &headers, 413, "payload-too-large");

    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let (status, body, headers) = post(&stage, &deep).await;
    assert_eq!(status, 400);
    assert_problem(&body, &headers, 400, "not-json");
}

#[tokio::test]
async fn a_search_is_told_everything_that_is_wrong_with_it() {
    let stage = Stage::new().await;
    let (status, body) = stage.get("/api/search?project=x&limit=0&offset=-1&colour=red").await;
    assert_eq!((status, &body["code"]), (400, &json!("invalid-request")));
    let mut names: Vec<&str> =
        body["errors"].as_array().expect("errors").iter().filter_map(|error| error["pointer"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["colour", "limit", "offset", "project", "q"]);
    let (status, body) = stage.get("/api/search?q=a&project=c651ed19-5375-475a-a539-9f6401467130").await;
    assert_eq!((status, &body["code"]), (404, &json!("unknown-project")));
}

#[tokio::test]
async fn while_the_database_is_away_nothing_is_accepted_and_afterwards_all_is_well() {
    let mut server = Server::start(Options::temporary()).await.expect("a server");
    server.ensure_database("away").await.expect("a database");
    let stage = Stage::builder(shipped::registry()).database(&server.url("away")).start().await;
    let request = r#"{"Type": "Reindex"}"#;
    let (status, kept, _) = post(&stage, request).await;
    assert_eq!(status, 202);

    server.halt_immediate().await.expect("a halt");
    let (status, body, headers) = post(&stage, request).await;
    assert_eq!(status, 503, "{body}");
    assert_problem(&body, &headers, 503, "unavailable");
    assert!(headers.contains_key("retry-after"));
    let (status, body, headers) = send(&stage, Method::GET, "/health/ready", &[], "").await;
    assert_eq!(status, 503);
    assert_problem(&body, &headers, 503, "unavailable");
    assert_eq!(stage.get("/health/live").await.0, 200);
    let address = kept["Self"].as_str().expect("an address").to_owned();
    assert_eq!(stage.http.get(&address).send().await.expect("an answer").status(), StatusCode::SERVICE_UNAVAILABLE);

    server.resume().await.expect("a start");
    let after = until("the API to accept again", async || {
        let (status, body, _) = post(&stage, request).await;
        (status == 202).then_some(body)
    })
    .await;
    assert_ne!(after["Id"], kept["Id"]);
    assert_eq!(stage.get(&address).await.0, 200, "what was accepted before is still there");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 2, "refused requests stored nothing");
}
