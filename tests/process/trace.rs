//! One trace from the POST to what a handler asks of a tracker, as a receiver of
//! OTLP sees it, and the log of the same.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use longhaul_tests::{Collector, Stage, fill_project, until};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use uuid::{Uuid, uuid};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const PROJECT: Uuid = uuid!("c651ed19-5375-475a-a539-9f6401467130");
const LINK: Uuid = uuid!("3aaf3505-85ca-43c4-a822-fe468118aab7");
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn one_trace_leads_from_the_post_to_the_call_of_a_tracker_and_the_log_names_task_and_trace() {
    let stage = Stage::new().await;
    fill_project(&stage.pool, PROJECT, 0).await;
    let (collector, tracker) = (Collector::start().await, MockServer::start().await);
    let issue = json!({"id": "10123", "key": "TST-123", "fields": {"summary": "Login fails",
        "updated": "2024-03-01T10:00:00.000+0100", "status": {"name": "To Do", "statusCategory": {"key": "new"}},
        "project": {"id": "10000", "key": "TST", "name": "Test"}}});
    Mock::given(method("GET"))
        .and(path("/rest/api/2/issue/10123"))
        .respond_with(ResponseTemplate::new(200).set_body_json(issue))
        .mount(&tracker)
        .await;

    let mut process = Command::new(crate::PROGRAM)
        .args(["dev", "--listen", "127.0.0.1:0", "--allow-private-trackers", "--log-format", "json", "--access-log"])
        .env("DATABASE_URL", stage.database_url())
        .env("LONGHAUL_SECRET_KEY", "5a".repeat(32))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address())
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env_remove("LONGHAUL_LOG")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let lines: Arc<Mutex<Vec<Value>>> = Arc::default();
    let mut log = BufReader::new(process.stderr.take().expect("a pipe")).lines();
    tokio::spawn({
        let lines = Arc::clone(&lines);
        async move {
            while let Ok(Some(line)) = log.next_line().await {
                let line = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
                lines.lock().expect("no panic").push(line);
            }
        }
    });
    let logged =
        |find: &dyn Fn(&Value) -> bool| lines.lock().expect("no panic").iter().find(|line| find(line)).cloned();
    let base_url = until("the API to listen", async || {
        let line = logged(&|line| line["fields"]["message"] == "the API listens")?;
        line["fields"]["url"].as_str().map(str::to_owned)
    })
    .await;

    let http = &stage.http;
    let create = async |path: &str, body: Value| {
        let answer = http.post(format!("{base_url}/api/{path}")).json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), 201);
        answer.json::<Value>().await.expect("JSON")
    };
    let system = json!({"Name": "Jira", "Kind": "JiraDataCenter", "BaseUrl": tracker.uri(), "Credentials": {"Secret": "hidden"}});
    let system = create("externalsystems", system).await;
    let link = json!({"Id": LINK, "ProjectId": PROJECT, "ExternalSystemId": system["Id"]});
    create("externalsystemlinks", link).await;
    let answer = http
        .post(format!("{base_url}/api/backgroundtasks"))
        .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
        .header("tracestate", "congo=t61rcWkgMzE")
        .json(&json!({"Type": "CreateTicketLink", "Parameters": {"TicketId": "10123", "ExternalSystemLinkId": LINK}}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 202);
    let started: Value = answer.json().await.expect("JSON");
    let id = started["Id"].as_str().expect("an id").to_owned();
    assert_eq!(stage.ended(&started).await["State"], "Succeeded");

    let spans = until("the spans to arrive", async || {
        let (spans, services) = collector.received().await;
        assert!(services.iter().all(|service| service.contains("longhaul")), "{services:?}");
        let ours: Vec<Span> = spans.into_iter().filter(|span| hex(&span.trace_id) == TRACE).collect();
        let attempt = ours.iter().any(|span| span.kind() == SpanKind::Consumer);
        (attempt && ours.iter().any(|span| span.kind() == SpanKind::Server)).then_some(ours)
    })
    .await;
    let by_id: HashMap<String, &Span> = spans.iter().map(|span| (hex(&span.span_id), span)).collect();
    let the = |kind: SpanKind| spans.iter().find(|span| span.kind() == kind).expect("a span");
    let (request, attempt) = (the(SpanKind::Server), the(SpanKind::Consumer));
    assert_eq!((request.name.as_str(), hex(&request.parent_span_id).as_str()), ("POST /api/backgroundtasks", CALLER));
    assert_eq!(attempt.name, "run CreateTicketLink");
    assert_eq!(attempt.parent_span_id, request.span_id, "the attempt belongs to the request that started it");
    assert_eq!(attempt.trace_state, "congo=t61rcWkgMzE");
    let asked = tracker.received_requests().await.expect("requests are kept");
    assert!(!asked.is_empty());
    let mut parents = Vec::new();
    for call in &asked {
        let parent = call.headers["traceparent"].to_str().expect("text");
        let fields: Vec<&str> = parent.split('-').collect();
        assert_eq!((fields[0], fields[1], fields[3]), ("00", TRACE, "01"));
        assert_eq!(call.headers["tracestate"], "congo=t61rcWkgMzE");
        let call = by_id.get(fields[2]).unwrap_or_else(|| panic!("{parent} names no span"));
        assert_eq!(call.kind(), SpanKind::Client);
        parents.push(call.parent_span_id.clone());
    }
    assert!(parents.contains(&request.span_id), "the create step asked within the request");
    assert!(parents.contains(&attempt.span_id), "the handler asked within its attempt");

    let access = logged(&|line| line["target"] == "longhaul_api::access" && line["fields"]["status"] == 202);
    let access = access.expect("the access log has the POST");
    assert_eq!(access["fields"]["path"], "/api/backgroundtasks");
    assert!(access["fields"]["ms"].as_f64().is_some_and(|ms| ms > 0.0), "{access}");
    let stored: String = stage.value("SELECT trace_context FROM longhaul.task ORDER BY id DESC LIMIT 1").await;
    assert_eq!(stored, format!("00-{TRACE}-{}-01 congo=t61rcWkgMzE", hex(&request.span_id)));

    let said = logged(&|line| line["fields"]["message"] == "incident created").expect("the handler logs");
    let task = json!({"id": id, "type": "CreateTicketLink", "queue": "default", "attempt": 1});
    assert_eq!((&said["task"], &said["trace_id"]), (&task, &json!(TRACE)), "{said}");

    let answer = http
        .post(format!("{base_url}/api/backgroundtasks"))
        .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
        .json(&json!({"Type": "DeleteProject", "Parameters": {"ProjectId": Uuid::nil()}}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 500);
    let problem: Value = answer.json().await.expect("JSON");
    assert_eq!(problem["traceId"], TRACE, "an error is found by the caller's own trace");
    process.kill().await.expect("it can be killed");
}
