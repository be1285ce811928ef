//! What is no request of HTTP/1.1, over bare sockets: every error has a body that explains it.

use std::time::Duration;

use longhaul_api::AppSettings;
use longhaul_model::Registry;
use longhaul_tests::{DEADLINE, Stage};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const WHOLE: &str = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

/// Splits what a connection sent into its answers. Each says how long its body is.
fn answers(sent: &str) -> Vec<Answer> {
    let (mut answers, mut rest) = (Vec::new(), sent);
    while !rest.is_empty() {
        let (head, after) = rest.split_once("\r\n\r\n").unwrap_or_else(|| panic!("a head: {rest}"));
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let (body, after) = after.split_at(length.parse().expect("a number"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        answers.push(Answer { status, head, body: serde_json::from_str(body).unwrap_or_default() });
        rest = after;
    }
    answers
}

/// What the server sends in answer to these bytes until it ends the connection.
async fn sent(stage: &Stage, bytes: &[u8]) -> Vec<Answer> {
    let mut stream = TcpStream::connect(stage.base_url.trim_start_matches("http://")).await.expect("a connection");
    stream.write_all(bytes).await.expect("the server reads all of it");
    let mut sent = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut sent)).await.expect("the server ends it").expect("it ends in order");
    answers(&sent)
}

/// The last answer is this problem, and the connection's last.
#[track_caller]
fn must_end_with(answers: &[Answer], what: &str, status: u16, code: &str) {
    let Answer { status: answered, head, body } = answers.last().expect(what);
    assert_eq!((*answered, body["code"].as_str()), (status, Some(code)), "{what}: {head} {body}");
    assert_eq!(body["status"], status, "{what}");
    assert_eq!(head.matches("content-length: ").count(), 1, "{what}: {head}");
    for line in [
        "content-type: application/problem+json; charset=utf-8",
        "connection: close",
        "x-content-type-options: nosniff",
        "date: ",
    ] {
        assert_eq!(head.lines().filter(|other| other.starts_with(line)).count(), 1, "{what}: {head}");
    }
    let help = body["help"].as_str().unwrap_or_default();
    assert!(help.ends_with(&format!("/docs/errors#{code}")), "{what}: {body}");
    assert!(body["traceId"].is_string() && body["detail"].is_string() && body["title"].is_string(), "{what}: {body}");
}

#[tokio::test]
async fn what_is_malformed_is_told_so_first_or_later_on_its_connection() {
    let stage = Stage::with_registry(Registry::new()).await;
    let malformed: [(&str, &[u8]); 10] = [
        ("no HTTP at all", b"hello\r\n\r\n"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("another version", b"GET / HTTP/3.1\r\nhost: localhost\r\n\r\n"),
        ("no host", b"GET / HTTP/1.1\r\n\r\n"),
        ("a space in the address", b"GET /a b HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        ("an odd method", b"GE(T / HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        ("space before the colon", b"GET / HTTP/1.1\r\nhost : localhost\r\n\r\n"),
        ("two lengths", b"GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na"),
        ("a header without a colon", b"GET / HTTP/1.1\r\nhost: localhost\r\nhello\r\n\r\n"),
    ];
    for (what, bytes) in malformed {
        let answers = sent(&stage, bytes).await;
        assert_eq!(answers.len(), 1, "{what}");
        must_end_with(&answers, what, 400, "malformed-request");
        let answers = sent(&stage, &[WHOLE.as_bytes(), WHOLE.as_bytes(), bytes].concat()).await;
        assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 200, 400], "{what}");
        must_end_with(&answers, what, 400, "malformed-request");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_to_be_read_is_told_so() {
    let stage = Stage::with_registry(Registry::new()).await;
    let head = |headers: &str| format!("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    for (what, head) in [
        ("headers that can be read", head(&"a: b\r\n".repeat(70))),
        ("too many headers", head(&"a: b\r\n".repeat(200))),
        ("a long header", head(&format!("a: {}\r\n", "b".repeat(200 * 1024)))),
        // Most of it is not read before it is refused.
        ("a long address", format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(4 * 1024 * 1024))),
    ] {
        must_end_with(&sent(&stage, head.as_bytes()).await, what, 431, "headers-too-large");
        let answers = sent(&stage, format!("{WHOLE}{head}").as_bytes()).await;
        assert_eq!(answers.first().map(|answer| answer.status), Some(200), "{what}");
        must_end_with(&answers, what, 431, "headers-too-large");
    }
}

#[tokio::test]
async fn a_head_that_does_not_arrive_is_told_so() {
    let impatient = |settings: &mut AppSettings| settings.limits.head_patience = Duration::from_millis(300);
    let stage = Stage::builder(Registry::new()).api(impatient).start().await;
    for begun in ["", "GET / HTTP/1.1\r\nhost: "] {
        must_end_with(&sent(&stage, begun.as_bytes()).await, begun, 408, "head-too-slow");
    }
}
