//! Requests whose end can be seen in two places, over bare sockets: whatever an attacker
//! sends through a proxy, one connection carries out one of them at most.

use longhaul_model::{Outcome, Registry, RunContext, RunError, TaskType};
use longhaul_tests::{DEADLINE, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Does nothing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Idle {}

impl TaskType for Idle {
    const NAME: &'static str = "Idle";
    const ID_PREFIX: &'static str = "idle-";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

const BODY: &str = r#"{"Type":"Idle"}"#;

async fn stage() -> Stage {
    Stage::with_registry(Registry::new().with::<Idle>()).await
}

/// A request that starts a task, with these headers and what follows its head.
fn post(headers: &str, rest: &str) -> String {
    format!(
        "POST /api/backgroundtasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}\r\n{rest}"
    )
}

/// A request without fault.
fn whole() -> String {
    post(&format!("content-length: {}\r\n", BODY.len()), BODY)
}

/// A chunked request whose one chunk is followed by this.
fn chunked(end: &str) -> String {
    post("transfer-encoding: chunked\r\n", &format!("{:x}\r\n{BODY}\r\n{end}", BODY.len()))
}

/// What the server sends until it ends the connection.
async fn answers(stage: &Stage, bytes: &str) -> String {
    let mut stream = TcpStream::connect(stage.base_url.trim_start_matches("http://")).await.expect("a connection");
    // The server may not want all of it.
    let _all_or_not = stream.write_all(bytes.as_bytes()).await;
    let mut answer = Vec::new();
    let _end = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the server ends the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn stored(stage: &Stage) -> i64 {
    stage.value("SELECT count(*) FROM longhaul.task").await
}

#[tokio::test]
async fn one_malformed_request_never_carries_out_two() {
    let stage = stage().await;
    let length = format!("content-length: {}\r\n", BODY.len());
    let malformed = [
        ("the last chunk ends by a bare LF", chunked("0\r\n\nx: y\r\n\r\n")),
        ("a trailer ends by a bare LF", chunked("0\r\nx: y\nz: y\r\n\r\n")),
        ("a trailer is a request", chunked("0\r\nGET / HTTP/1.1\r\nhost: localhost\r\n\r\n")),
        (
            "a chunk's size ends by a bare LF",
            post("transfer-encoding: chunked\r\n", &format!("f\n{BODY}\r\n0\r\n\r\n")),
        ),
        ("a chunk ends by a bare LF", post("transfer-encoding: chunked\r\n", &format!("f\r\n{BODY}\n0\r\n\r\n"))),
        ("a chunk's extension", post("transfer-encoding: chunked\r\n", &format!("f;a=\"b\r\n{BODY}\r\n0\r\n\r\n"))),
        (
            "a chunk's extension with a bare LF",
            post("transfer-encoding: chunked\r\n", &format!("f;a\n{BODY}\r\n0\r\n\r\n")),
        ),
        ("space after a chunk's size", post("transfer-encoding: chunked\r\n", &format!("f \r\n{BODY}\r\n0\r\n\r\n"))),
        (
            "a length and chunks",
            post(&format!("{length}transfer-encoding: chunked\r\n"), &format!("f\r\n{BODY}\r\n0\r\n\r\n")),
        ),
        (
            "chunks and a length",
            post(&format!("transfer-encoding: chunked\r\n{length}"), &format!("f\r\n{BODY}\r\n0\r\n\r\n")),
        ),
        ("two lengths", post(&format!("{length}content-length: 1\r\n"), BODY)),
        ("the same length twice", post(&format!("{length}{length}"), BODY)),
        ("a list of lengths", post(&format!("content-length: {0}, {0}\r\n", BODY.len()), BODY)),
        ("a length with a sign", post(&format!("content-length: +{}\r\n", BODY.len()), BODY)),
        ("space before the colon", post(&format!("content-length : {}\r\n", BODY.len()), BODY)),
        ("a folded header", post(&format!("x-a: b\r\n {length}"), BODY)),
        ("a folded encoding", post(&format!("{length}transfer-encoding:\r\n chunked\r\n"), BODY)),
        ("another encoding", post(&format!("{length}transfer-encoding: identity\r\n"), BODY)),
        ("an encoding that is almost one", post(&format!("{length}transfer-encoding: xchunked\r\n"), BODY)),
        ("two encodings", post("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", "0\r\n\r\n")),
        ("a change of protocol", post(&format!("{length}connection: upgrade\r\nupgrade: websocket\r\n"), BODY)),
        ("a change of protocol and chunks", {
            let headers = "connection: upgrade\r\nupgrade: WebSocket\r\ntransfer-encoding: chunked\r\n";
            post(headers, &format!("f\r\n{BODY}\r\n0\r\n\r\n"))
        }),
        ("a tunnel", "CONNECT localhost:1 HTTP/1.1\r\nhost: localhost:1\r\n\r\n".to_owned()),
    ];
    for (what, request) in malformed {
        let before = stored(&stage).await;
        let answer = answers(&stage, &format!("{request}{0}{0}", whole())).await;
        let (done, accepted) = (stored(&stage).await - before, answer.matches("HTTP/1.1 2").count());
        assert!(done <= 1 && accepted <= 1, "{what}: {done} tasks were stored, and the answer was {answer}");
    }
}

#[tokio::test]
async fn a_chunked_request_is_answered_and_the_last_of_its_connection() {
    let stage = stage().await;
    let answer = answers(&stage, &format!("{}{}", chunked("0\r\n\r\n"), whole())).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(stored(&stage).await, 1, "{answer}");
    assert!(!answer[12..].contains("HTTP/1.1 2"), "{answer}");
}

#[tokio::test]
async fn requests_whose_length_is_clear_share_a_connection() {
    let stage = stage().await;
    let last = post(&format!("connection: close\r\ncontent-length: {}\r\n", BODY.len()), BODY);
    let answer = answers(&stage, &format!("{0}{0}{last}", whole())).await;
    assert_eq!(answer.matches("HTTP/1.1 202").count(), 3, "{answer}");
    assert_eq!(stored(&stage).await, 3);
}
