//! How answers look on the wire: HEAD, HTTP/1.0, and what is no HTTP.

use longhaul_tests::{DEADLINE, Stage, address};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

async fn connect(stage: &Stage) -> TcpStream {
    TcpStream::connect(stage.base_url.trim_start_matches("http://")).await.expect("a connection")
}

/// All that the server sends until it ends the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _end = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the server ends the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn sent(stage: &Stage, bytes: &str) -> String {
    let mut stream = connect(stage).await;
    stream.write_all(bytes.as_bytes()).await.expect("sent");
    rest(&mut stream).await
}

#[tokio::test]
async fn whatever_answers_get_answers_head_alike() {
    let stage = Stage::new().await;
    let client = longhaul_tests::http_client().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
    let client = client.expect("a client");
    let ask = async |method: Method, path: &str| {
        let response = client.request(method, format!("{}{path}", stage.base_url)).send().await.expect("an answer");
        let (status, content_type) = (response.status().as_u16(), response.headers().get(CONTENT_TYPE).cloned());
        (status, content_type, response.bytes().await.expect("a body").len())
    };
    let mut asked = 0;
    for (path, item) in stage.openapi["paths"].as_object().expect("paths") {
        if item.get("get").is_none() {
            continue;
        }
        assert!(item.get("head").is_some(), "{path} is described with HEAD");
        let address = address(&stage.openapi, path);
        let (got, head) = (ask(Method::GET, &address).await, ask(Method::HEAD, &address).await);
        assert_eq!((got.0, got.1), (head.0, head.1), "{path}");
        assert_eq!(head.2, 0, "{path}");
        asked += 1;
    }
    assert!(asked > 40, "{asked} addresses");
}

#[tokio::test]
async fn head_begins_no_stream() {
    let stage = Stage::new().await;
    let task = stage.start(&json!({"Type": "Reindex"})).await;
    let path = format!("/api/backgroundtask/{}/events", task["Id"].as_str().expect("an id"));
    let head = format!("HEAD {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let last = "GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = sent(&stage, &format!("{head}{last}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "the connection goes on: {answer}");
    assert!(answer.contains("content-type: application/x-ndjson"), "{answer}");
    assert!(!answer.contains("transfer-encoding") && !answer.contains("\"Id\""), "{answer}");
}

#[tokio::test]
async fn a_stream_over_http_1_0_ends_with_its_connection() {
    let stage = Stage::new().await;
    let request = json!({"Type": "Reindex", "StreamProgress": true}).to_string();
    let posted = format!(
        "POST /api/backgroundtasks HTTP/1.0\r\ncontent-type: application/json\r\nconnection: keep-alive\r\n\
         content-length: {}\r\n\r\n{request}",
        request.len()
    );
    let mut stream = connect(&stage).await;
    stream.write_all(posted.as_bytes()).await.expect("sent");
    // Its first body; the end comes when the task is cancelled.
    let mut answer = String::new();
    while !answer.contains("\"Queued\"") {
        let mut bytes = [0; 4096];
        let count = timeout(DEADLINE, stream.read(&mut bytes)).await.expect("it goes on").expect("bytes");
        assert!(count > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    let location = answer.lines().find_map(|line| line.strip_prefix("location: ")).expect("a location").to_owned();
    let response = stage.http.delete(location).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    answer.push_str(&rest(&mut stream).await);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.0 202"), "{head}");
    assert!(!head.contains("transfer-encoding") && !head.contains("content-length"), "{head}");
    assert!(!head.contains("keep-alive"), "{head}");
    let bodies: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(bodies.last().expect("a body")["State"], "Cancelled");
}

#[tokio::test]
async fn a_file_is_not_taken_as_a_part_of_a_form() {
    let stage = Stage::new().await;
    let upload = async |content_type: &str| {
        let request = stage.http.post(format!("{}/api/upload?name=report.xml", stage.base_url));
        let response = request.header("content-type", content_type).body("<testsuites/>").send().await;
        let response = response.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    for form in ["multipart/form-data; boundary=x", "Multipart/Mixed; boundary=x", " multipart/form-data"] {
        let (status, problem) = upload(form).await;
        assert_eq!((status, &problem["code"]), (415, &json!("unsupported-media-type")), "{form}");
        assert!(problem["detail"].as_str().expect("a detail").contains("--data-binary"), "{problem}");
    }
    let (status, file) = upload("application/xml").await;
    assert_eq!((status, &file["Bytes"]), (201, &json!(13)), "{file}");
}
