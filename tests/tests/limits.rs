//! What one client may use, asked with bare sockets.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use longhaul_api::access::Keys;
use longhaul_api::session::{Login, SessionSettings};
use longhaul_api::{AppSettings, Authenticators, Rate};
use longhaul_tests::{DEADLINE, Stage, shipped};
use reqwest::Response;
use serde_json::Value;
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

async fn stage(change: impl FnOnce(&mut AppSettings) + Send + 'static) -> Stage {
    Stage::builder(shipped::registry()).api(change).start().await
}

fn rate(burst: u32) -> Option<Rate> {
    Some(Rate { per_second: NonZeroU32::MIN, burst: NonZeroU32::new(burst).expect("a burst") })
}

async fn connect(stage: &Stage) -> TcpStream {
    TcpStream::connect(stage.base_url.trim_start_matches("http://")).await.expect("a connection")
}

/// All that the server sends until it closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _end = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the server ends it");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends bytes, of which the server may not want all, and returns its answer.
async fn answer(stage: &Stage, bytes: &[u8]) -> String {
    let mut stream = connect(stage).await;
    let _all_or_not = stream.write_all(bytes).await;
    rest(&mut stream).await
}

async fn get(stage: &Stage, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = longhaul_tests::http_client().build().expect("a client").get(format!("{}{path}", stage.base_url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("an answer")
}

async fn is_well(stage: &Stage) {
    assert_eq!(get(stage, "/health/ready", &[]).await.status(), 200);
}

#[tokio::test]
async fn a_client_that_sends_more_than_it_may_is_told_when_to_go_on() {
    let stage = stage(|settings| {
        settings.limits.rate = rate(5);
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await;
    let mut refused = None;
    for _ in 0..20 {
        let response = get(&stage, "/api/queues", &[]).await;
        if response.status() != 200 {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.expect("20 requests at once are more than 5");
    assert_eq!(refused.status(), 429);
    let after: u32 = refused.headers()["retry-after"].to_str().expect("ASCII").parse().expect("seconds");
    assert!((1..=2).contains(&after), "{after}");
    let body: Value = refused.json().await.expect("JSON");
    assert_eq!(body["code"], "too-many-requests");
    let other = get(&stage, "/api/queues", &[("x-forwarded-for", "203.0.113.9")]).await;
    assert_eq!(other.status(), 200, "another client of the same proxy");
    let began = Instant::now();
    longhaul_tests::until("the time to be over", async || {
        (get(&stage, "/api/queues", &[]).await.status() == 200).then_some(())
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(u64::from(after) + 3), "it was over after {:?}", began.elapsed());
}

#[tokio::test]
async fn an_address_that_guesses_keys_is_not_listened_to() {
    let stage = Stage::builder(shipped::registry())
        .api(|settings| settings.limits.rate = rate(1000))
        .authenticators(|pool| Authenticators::default().with(Keys::new(pool.clone(), None)))
        .start()
        .await;
    let mut answers = Vec::new();
    for _ in 0..200 {
        answers.push(get(&stage, "/api/queues", &[("authorization", "Bearer lh_guess")]).await.status().as_u16());
        if answers.ends_with(&[429]) {
            break;
        }
    }
    assert!(answers.len() > 30 && answers.ends_with(&[401, 429]), "{answers:?}");
    is_well(&stage).await;
}

#[tokio::test]
async fn an_address_that_guesses_keys_at_the_login_is_not_listened_to_and_seen_in_the_audit() {
    let keys = |pool: &PgPool| Keys::new(pool.clone(), None);
    let stage = Stage::builder(shipped::registry())
        .api(|settings| settings.limits.rate = rate(1000))
        .authenticators(move |pool| Authenticators::default().with(keys(pool)))
        .login(move |pool| Login::new(pool.clone(), SessionSettings::default(), Some(keys(pool)), None))
        .start()
        .await;
    let (mut answers, client) = (Vec::new(), longhaul_tests::http_client().build().expect("a client"));
    for _ in 0..200 {
        let request = client.post(format!("{}/login", stage.base_url)).header("sec-fetch-site", "same-origin");
        answers.push(request.body("key=lh_guess").send().await.expect("an answer").status().as_u16());
        if answers.ends_with(&[429]) {
            break;
        }
    }
    assert!(answers.len() > 30 && answers.ends_with(&[401, 429]), "{answers:?}");
    let refused: i64 = stage.value("SELECT count(*) FROM longhaul.audit WHERE deed = 'refuseLogIn'").await;
    assert_eq!(refused, i64::try_from(answers.len() - 1).expect("a few"));
    is_well(&stage).await;
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let stage = stage(|_| {}).await;
    let headers =
        |count: usize, size: usize| (0..count).map(|n| format!("x-{n}: {}\r\n", "v".repeat(size))).collect::<String>();
    let head = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")
    };
    let cases = [
        ("a long address", head(&format!("/{}", "a".repeat(9_000)), ""), "414", "uri-too-long"),
        ("a long query", head(&format!("/api/queues?{}", "a=b&".repeat(3_000)), ""), "414", "uri-too-long"),
        ("many headers", head("/api/queues", &headers(70, 1)), "431", "headers-too-large"),
        ("large headers", head("/api/queues", &headers(10, 4_000)), "431", "headers-too-large"),
        // Where the parser of actix-web itself gives up.
        ("very many headers", head("/api/queues", &headers(2_000, 1)), "431", "headers-too-large"),
        ("very large headers", head("/api/queues", &headers(50, 20_000)), "431", "headers-too-large"),
        ("no head at all", "\0".repeat(1_000) + "\r\n\r\n", "400", "malformed-request"),
    ];
    for (what, request, status, code) in cases {
        let answer = answer(&stage, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(code), "{what}: {answer}");
    }
    is_well(&stage).await;
}

#[tokio::test]
async fn bodies_that_are_too_large_too_deep_or_too_many_are_refused() {
    let stage = stage(|_| {}).await;
    let post = |body: &str| {
        format!(
            "POST /api/backgroundtasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let deep = format!(
        "{{\"Type\":\"Reindex\",\"Parameters\":{{\"ProjectId\":{}{}}}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let many = format!("{{\"Type\":\"Reindex\",\"Parameters\":{{\"ProjectId\":[{}1]}}}}", "1,".repeat(400_000));
    for (what, body, status, code) in [
        ("deep", deep, 400, "not-json"),
        ("many values", many, 400, "values"),
        ("large", format!("\"{}\"", "a".repeat(2_000_000)), 413, "payload-too-large"),
    ] {
        let began = Instant::now();
        let answer = answer(&stage, post(&body).as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(code), "{what}: {answer}");
        println!("{what}: {} kB answered after {:?}", body.len() / 1000, began.elapsed());
    }
    // Announced and never sent.
    let huge = "POST /api/backgroundtasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n";
    assert!(answer(&stage, huge.as_bytes()).await.starts_with("HTTP/1.1 413"));
    is_well(&stage).await;
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up_and_one_that_flows_is_not() {
    let stage = stage(|settings| settings.limits.body_patience = Duration::from_millis(400)).await;
    let head = |length: usize| {
        format!(
            "POST /api/upload?name=a HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/octet-stream\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let mut slow = connect(&stage).await;
    slow.write_all(head(1_000_000).as_bytes()).await.expect("sent");
    let began = Instant::now();
    let (mut reader, mut writer) = slow.split();
    let trickle = async {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut answer = [0; 20];
    let read = async { timeout(DEADLINE, reader.read_exact(&mut answer)).await.expect("in time").expect("an answer") };
    tokio::select! { _ = read => {}, () = trickle => panic!("it was cut off without an answer") }
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    println!("a byte every 20 ms was given up after {:?}", began.elapsed());

    // 320 kB in a second are faster than 16 KiB a second, though slower than the patience.
    let mut steady = connect(&stage).await;
    steady.write_all(head(320_000).as_bytes()).await.expect("sent");
    for _ in 0..20 {
        steady.write_all(&[b'x'; 16_000]).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut answer = [0; 12];
    steady.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 201");
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let stage = stage(|settings| settings.limits.head_patience = Duration::from_millis(500)).await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut stream = connect(&stage).await;
        stream.write_all(b"GET /api/queues HTTP/1.1\r\nhost: localhost\r\nx-a").await.expect("sent");
        streams.push(stream);
    }
    is_well(&stage).await;
    let began = Instant::now();
    for stream in &mut streams {
        let answer = rest(stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    println!("50 heads that did not come were given up after {:?}", began.elapsed());
}

#[tokio::test]
async fn connections_above_the_limit_wait_and_are_served_when_others_end() {
    let stage = stage(|settings| settings.limits.connections = 1).await;
    let request = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let served = async |stream: &mut TcpStream, patience: Duration| {
        let mut answer = [0; 15];
        matches!(timeout(patience, stream.read_exact(&mut answer)).await, Ok(Ok(_)))
    };
    // Each worker takes one.
    let mut taken = Vec::new();
    let mut waiting = loop {
        let mut stream = connect(&stage).await;
        stream.write_all(request).await.expect("sent");
        if !served(&mut stream, Duration::from_secs(2)).await {
            break stream;
        }
        taken.push(stream);
        assert!(taken.len() <= 64, "there is no limit");
    };
    assert!(!taken.is_empty());
    drop(taken);
    assert!(served(&mut waiting, DEADLINE).await, "it is served once others end");
}
