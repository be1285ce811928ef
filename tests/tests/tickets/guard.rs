//! Trackers that are slow, broken, lead elsewhere, or are not to be asked.

use std::time::{Duration, Instant};

use longhaul_test_management::trackers::TrackerSettings;
use longhaul_tests::fill_project;
use serde_json::{Value, json};
use uuid::Uuid;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::scene::*;

/// The answer to a search in the first tracker, which asks it directly.
async fn find(scene: &Scene) -> (u16, Value) {
    let request =
        json!({"Type": "CreateTicketLink", "Parameters": {"TicketId": "10123", "ExternalSystemLinkId": FIRST_LINK}});
    let response = scene.stage.post(&request).await;
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

async fn answer(server: &MockServer, answers: ResponseTemplate, times: Option<u64>) {
    let mock = Mock::given(any()).respond_with(answers);
    match times {
        Some(times) => mock.up_to_n_times(times).mount(server).await,
        None => mock.mount(server).await,
    }
}

#[tokio::test]
async fn a_tracker_that_stumbles_is_asked_again() {
    let scene = Scene::new().await;
    scene.first.reset().await;
    answer(&scene.first, ResponseTemplate::new(502), Some(1)).await;
    answer(&scene.first, ResponseTemplate::new(429).insert_header("Retry-After", "1"), Some(1)).await;
    serve_issue(&scene.first, "10123", "TST-123", "Login fails").await;
    let began = Instant::now();
    let (status, body) = find(&scene).await;
    assert_eq!(status, 202, "{body}");
    assert!(began.elapsed() >= Duration::from_secs(1), "Retry-After is honoured");
    assert_eq!(scene.first.received_requests().await.expect("requests").len(), 3);
}

#[tokio::test]
async fn a_tracker_that_wants_to_be_left_alone_for_long_is_not_waited_for() {
    let scene = Scene::new().await;
    scene.first.reset().await;
    answer(&scene.first, ResponseTemplate::new(429).insert_header("Retry-After", "600"), None).await;
    let began = Instant::now();
    let (status, body) = find(&scene).await;
    assert_eq!((status, &body["code"]), (503, &json!("unavailable")));
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(scene.first.received_requests().await.expect("requests").len(), 1);
}

/// What the caller of a POST that asks the first tracker is told to wait.
async fn told_to_wait(scene: &Scene) -> u64 {
    let request =
        json!({"Type": "CreateTicketLink", "Parameters": {"TicketId": "10123", "ExternalSystemLinkId": FIRST_LINK}});
    let response = scene.stage.post(&request).await;
    assert_eq!(response.status(), 503);
    response.headers()["retry-after"].to_str().expect("ASCII").parse().expect("seconds")
}

#[tokio::test]
async fn the_caller_is_told_the_wait_that_the_tracker_asked_for_and_nobody_asks_it_meanwhile() {
    for (header, expected) in [("600", 600), ("86400", 3600), ("Wed, 21 Oct 2099 07:28:00 GMT", 3600)] {
        let scene = Scene::new().await;
        scene.first.reset().await;
        answer(&scene.first, ResponseTemplate::new(429).insert_header("Retry-After", header), None).await;
        assert_eq!(told_to_wait(&scene).await, expected, "{header}");
        let again = told_to_wait(&scene).await;
        assert!((expected - 60..=expected).contains(&again), "{header}: {again}");
        assert_eq!(scene.first.received_requests().await.expect("requests").len(), 1, "it was left alone");
        // Limits are accounts': another one may ask.
        let (_, systems) = scene.stage.get("/api/externalsystems").await;
        for system in systems["Items"].as_array().expect("items") {
            let address =
                format!("{}/api/externalsystem/{}", scene.stage.base_url, system["Id"].as_str().expect("an id"));
            let change = json!({"Credentials": {"Secret": "another"}});
            assert_eq!(scene.stage.http.patch(address).json(&change).send().await.expect("an answer").status(), 200);
        }
        told_to_wait(&scene).await;
        assert_eq!(scene.first.received_requests().await.expect("requests").len(), 2);
    }
}

/// Points the first tracker's connection to another address.
async fn move_first(scene: &Scene, url: &str) {
    sqlx::query("UPDATE records.external_system SET base_url = $1 WHERE base_url = $2")
        .bind(url)
        .bind(scene.first.uri())
        .execute(&scene.stage.pool)
        .await
        .expect("changed");
}

#[tokio::test]
async fn what_a_connection_died_of_is_told() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent_at = silent.local_addr().expect("an address");
    let rude = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let rude_at = rude.local_addr().expect("an address");
    let hangs_up = tokio::spawn(async move {
        while let Ok((mut stream, _)) = rude.accept().await {
            let _read = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await;
        }
    });
    let plain = MockServer::start().await;
    for (url, told) in [
        ("http://127.0.0.1:1".to_owned(), "connection was refused"),
        // No name server has to be asked to know that there is no such name.
        (format!("http://{}.invalid", "a".repeat(70)), "name can't be resolved"),
        (format!("https://{}", plain.address()), "TLS handshake failed"),
        (format!("http://{silent_at}"), "did not answer within"),
        (format!("http://{rude_at}"), "closed the connection"),
    ] {
        let scene = Scene::with(TrackerSettings { deadline: Duration::from_secs(2), ..settings() }).await;
        move_first(&scene, &url).await;
        let (status, problem) = find(&scene).await;
        assert_eq!((status, &problem["code"]), (503, &json!("unavailable")), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(told)), "{url}: {problem}");
    }
    hangs_up.abort();
}

#[tokio::test]
async fn what_a_tracker_says_is_told() {
    let page = "<html><title>Log in - Jira</title><form><input type=\"password\"></form></html>";
    let html = |status: u16, body: &str| ResponseTemplate::new(status).set_body_raw(body, "text/html");
    let scene = Scene::new().await;
    for (template, code, told) in [
        (
            ResponseTemplate::new(400)
                .set_body_json(json!({"errorMessages": ["No project 'X'."], "errors": {"a": "b"}})),
            "tracker-misbehaved",
            "It says: No project 'X'.; a: b.",
        ),
        (
            ResponseTemplate::new(401).set_body_json(json!({"message": "Expired."})),
            "tracker-refused",
            "It says: Expired.",
        ),
        (
            ResponseTemplate::new(403)
                .insert_header("X-Authentication-Denied-Reason", "CAPTCHA_CHALLENGE; login-url=x"),
            "tracker-refused",
            "captcha",
        ),
        (html(401, page), "tracker-refused", "a login page ('Log in - Jira')"),
        (html(200, page), "tracker-refused", "a login page ('Log in - Jira') instead of JSON"),
        (html(200, "<html>hello</html>"), "tracker-misbehaved", "a web page instead of JSON"),
        (html(404, "<html>nginx</html>"), "tracker-misbehaved", "not like its REST API"),
        (
            ResponseTemplate::new(302).insert_header("Location", "https://id.example/saml/login?t=t0ken"),
            "tracker-misbehaved",
            "https://id.example, a login page (single sign-on)",
        ),
        (
            ResponseTemplate::new(200).insert_header("Content-Encoding", "br").set_body_bytes(vec![0x8b, 1]),
            "tracker-misbehaved",
            "in the Content-Encoding 'br'",
        ),
        (
            ResponseTemplate::new(500).set_body_json(json!({"message": format!("{SECRET} is bad")})),
            "unavailable",
            "It says: [redacted] is bad.",
        ),
    ] {
        scene.first.reset().await;
        answer(&scene.first, template, None).await;
        let (_, problem) = find(&scene).await;
        let detail = problem["detail"].as_str().expect("a detail");
        assert_eq!(problem["code"], code, "{told}: {problem}");
        assert!(detail.contains(told) && !detail.contains("t0ken") && !detail.contains(SECRET), "{told}: {detail}");
    }
    // A byte order mark before the JSON says nothing.
    scene.first.reset().await;
    let body = format!("\u{feff}{}", jira_issue("10123", "TST-123", "Login fails"));
    answer(&scene.first, ResponseTemplate::new(200).set_body_raw(body, "application/json"), None).await;
    assert_eq!(find(&scene).await.0, 202);
}

#[tokio::test]
async fn a_tracker_that_is_down_is_a_503() {
    let mut scene = Scene::new().await;
    let gone = std::mem::replace(&mut scene.first, MockServer::start().await);
    sqlx::query("UPDATE records.external_system SET base_url = 'http://127.0.0.1:1' WHERE base_url = $1")
        .bind(gone.uri())
        .execute(&scene.stage.pool)
        .await
        .expect("changed");
    let (status, body) = find(&scene).await;
    assert_eq!((status, &body["code"]), (503, &json!("unavailable")), "{body}");
}

#[tokio::test]
async fn wrong_credentials_are_told_without_showing_them() {
    let scene = Scene::new().await;
    scene.first.reset().await;
    answer(&scene.first, ResponseTemplate::new(401), None).await;
    let (status, body) = find(&scene).await;
    assert_eq!((status, &body["code"]), (500, &json!("tracker-refused")));
    assert!(!body.to_string().contains(SECRET));
    assert_eq!(scene.first.received_requests().await.expect("requests").len(), 1, "not tried again");
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let scene = Scene::new().await;
    let elsewhere = MockServer::start().await;
    answer(&elsewhere, ResponseTemplate::new(200).set_body_json(jira_issue("10123", "TST-123", "Trap")), None).await;
    scene.first.reset().await;
    answer(&scene.first, ResponseTemplate::new(302).insert_header("Location", elsewhere.uri().as_str()), None).await;
    let (status, body) = find(&scene).await;
    assert_eq!((status, &body["code"]), (500, &json!("tracker-misbehaved")), "{body}");
    assert!(elsewhere.received_requests().await.expect("requests").is_empty());
}

#[tokio::test]
async fn a_redirect_within_the_tracker_is_followed() {
    let scene = Scene::new().await;
    scene.first.reset().await;
    let to = format!("{}/rest/api/2/issue/TST-123", scene.first.uri());
    answer(&scene.first, ResponseTemplate::new(301).insert_header("Location", to.as_str()), Some(1)).await;
    serve_issue(&scene.first, "10123", "TST-123", "Login fails").await;
    assert_eq!(find(&scene).await.0, 202);
}

#[tokio::test]
async fn answers_that_are_too_large_or_no_json_are_refused() {
    let scene = Scene::new().await;
    for body in ["<html>log in</html>".to_owned(), format!("\"{}\"", "x".repeat(5 * 1024 * 1024)), "{}".to_owned()] {
        scene.first.reset().await;
        answer(&scene.first, ResponseTemplate::new(200).set_body_string(body), None).await;
        let (status, problem) = find(&scene).await;
        assert_eq!((status, &problem["code"]), (500, &json!("tracker-misbehaved")), "{problem}");
    }
}

#[tokio::test]
async fn private_addresses_are_not_asked_unless_allowed() {
    let settings = TrackerSettings { allow_private: false, ..settings() };
    let stage = stage(settings).await;
    let tracker = MockServer::start().await;
    let port = tracker.address().port();
    for url in
        [tracker.uri(), format!("https://127.0.0.1:{port}"), "https://[::1]/".to_owned(), "https://10.1.2.3".to_owned()]
    {
        let body = json!({"Name": "x", "Kind": "Redmine", "BaseUrl": url});
        let (status, problem) = post(&stage, "externalsystems", &body).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!("/BaseUrl")), "{problem}");
    }
    // A name shows only when it is resolved; and what was stored when private
    // addresses were allowed is checked again.
    fill_project(&stage.pool, PROJECT, 0).await;
    connect(&stage, FIRST_LINK, PROJECT, "JiraDataCenter", &format!("https://localhost:{port}"), None).await;
    let request =
        json!({"Type": "CreateTicketLink", "Parameters": {"TicketId": "1", "ExternalSystemLinkId": FIRST_LINK}});
    for url in [format!("https://localhost:{port}"), tracker.uri()] {
        sqlx::query("UPDATE records.external_system SET base_url = $1")
            .bind(&url)
            .execute(&stage.pool)
            .await
            .expect("set");
        let response = stage.post(&request).await;
        let problem: Value = response.json().await.expect("JSON");
        assert_eq!(problem["code"], "tracker-not-allowed", "{url}: {problem}");
    }
    assert!(tracker.received_requests().await.expect("requests").is_empty());
}

#[tokio::test]
async fn credentials_are_sealed_sent_and_never_shown() {
    let scene = Scene::new().await;
    assert_eq!(find(&scene).await.0, 202);
    let requests = scene.first.received_requests().await.expect("requests");
    assert_eq!(requests[0].headers["authorization"], format!("Bearer {SECRET}"));
    let (_, systems) = scene.stage.get("/api/externalsystems").await;
    assert_eq!(systems["Items"][0]["HasCredentials"], true);
    assert!(!systems.to_string().contains(SECRET));
    let sealed: Vec<Vec<u8>> = sqlx::query_scalar("SELECT credentials FROM records.external_system")
        .fetch_all(&scene.stage.pool)
        .await
        .expect("sealed");
    assert!(sealed.iter().all(|sealed| !sealed.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())));
    // Sealed for one system, they open for no other.
    sqlx::query("UPDATE records.external_system AS a SET credentials = b.credentials FROM records.external_system AS b WHERE a.id <> b.id")
        .execute(&scene.stage.pool)
        .await
        .expect("swapped");
    assert_eq!(find(&scene).await.1["code"], "tracker-refused");
}

#[tokio::test]
async fn without_a_secret_key_no_credentials_are_stored() {
    let stage = stage(TrackerSettings { secret_key: None, ..settings() }).await;
    let body = json!({"Id": Uuid::nil(), "Name": "x", "Kind": "Redmine", "BaseUrl": "http://127.0.0.1", "Credentials": {"Secret": SECRET}});
    let (status, problem) = post(&stage, "externalsystems", &body).await;
    assert_eq!((status, &problem["code"]), (500, &json!("no-secret-key")));
    let systems: i64 = stage.value("SELECT count(*) FROM records.external_system").await;
    assert_eq!(systems, 0);
}
