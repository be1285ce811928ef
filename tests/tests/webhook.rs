//! Webhooks against a real HTTP receiver.

mod passing;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use longhaul_model::{Keyring, Resources, SecretKey};
use longhaul_tests::{Stage, mortal_worker, quick_worker, shipped, until};
use longhaul_webhooks::{WebhookSettings, Webhooks};
use ring::hmac;
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

fn settings() -> WebhookSettings {
    WebhookSettings { allow_private: true, deadline: Duration::from_secs(20), ..WebhookSettings::default() }
}

async fn stage(settings: WebhookSettings) -> Stage {
    let keyring = Keyring::new(SecretKey::parse(&"5a".repeat(32)).expect("a key"), Vec::new());
    let resources = Resources::new().with(keyring).with(Webhooks::new(settings).expect("a client"));
    Stage::builder(shipped::registry()).resources(resources).start().await
}

async fn receiver(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    server
}

async fn send(stage: &Stage, verb: reqwest::Method, path: &str, body: Option<&Value>) -> (u16, Value) {
    let mut request = stage.http.request(verb, format!("{}{path}", stage.base_url));
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
}

/// Makes a webhook; returns its id.
async fn subscribe(stage: &Stage, body: Value) -> String {
    let (status, body) = send(stage, reqwest::Method::POST, "/api/webhooks", Some(&body)).await;
    assert_eq!(status, 201, "{body}");
    assert!(!body.to_string().contains("whsec_"), "{body}");
    body["Id"].as_str().expect("an id").to_owned()
}

async fn received(server: &MockServer, number: usize) -> Vec<Request> {
    until(&format!("{number} messages"), async || {
        let requests = server.received_requests().await.expect("recorded");
        (requests.len() >= number).then_some(requests)
    })
    .await
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_else(|| panic!("no {name}"))
}

/// As the specification says, from nothing but the request and the secret.
fn verify(request: &Request, secret: &str) {
    assert!(verifies(request, secret), "the signature is right");
}

/// Whether one of the signatures is that of this secret.
fn verifies(request: &Request, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("the prefix")).expect("base64");
    let (id, timestamp) = (header(request, "webhook-id"), header(request, "webhook-timestamp"));
    let mut signed = format!("{id}.{timestamp}.").into_bytes();
    signed.extend_from_slice(&request.body);
    assert!(timestamp.parse::<i64>().is_ok_and(|seconds| seconds > 1_700_000_000), "{timestamp}");
    header(request, "webhook-signature").split(' ').any(|signature| {
        let signature = signature.strip_prefix("v1,").expect("version 1");
        let signature = STANDARD.decode(signature).expect("base64");
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed, &signature).is_ok()
    })
}

/// The webhook's messages, once the last one is in this state.
async fn delivery(stage: &Stage, webhook: &str, state: &str) -> Value {
    until(&format!("a delivery to be {state}"), async || {
        let (_, page) = stage.get(&format!("/api/webhookdeliveries?webhook={webhook}")).await;
        page["Items"].as_array().and_then(|items| items.last().cloned()).filter(|last| last["State"] == state)
    })
    .await
}

async fn watched(stage: &Stage) -> bool {
    stage
        .value(
            "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'longhaul.task'::regclass AND tgname = 'webhook')",
        )
        .await
}

#[tokio::test]
async fn the_end_of_a_task_is_told_signed_and_written_down() {
    let server = receiver(ResponseTemplate::new(204)).await;
    let stage = stage(settings()).await;
    let _worker = stage.worker(quick_worker()).await;
    let all = subscribe(&stage, json!({"Url": format!("{}/all", server.uri())})).await;
    subscribe(&stage, json!({"Url": format!("{}/others", server.uri()), "Types": ["DeleteProject"]})).await;
    subscribe(&stage, json!({"Url": format!("{}/failed", server.uri()), "States": ["Failed"]})).await;
    subscribe(&stage, json!({"Url": format!("{}/queue", server.uri()), "Queues": ["elsewhere"]})).await;
    let task = stage.start(&json!({"Type": "Reindex", "Parameters": {}})).await;
    stage.ended(&task).await;

    let log = delivery(&stage, &all, "Delivered").await;
    let requests = received(&server, 1).await;
    assert_eq!(requests.len(), 1, "the filters let nothing else through");
    let (status, secret) = stage.get(&format!("/api/webhook/{all}/secret")).await;
    assert_eq!(status, 200);
    verify(&requests[0], secret["Secret"].as_str().expect("a secret"));
    assert_eq!(requests[0].url.path(), "/all");
    let body: Value = serde_json::from_slice(&requests[0].body).expect("JSON");
    assert_eq!(body["type"], "task.succeeded");
    assert_eq!(
        (&body["data"]["Id"], &body["data"]["Type"], &body["data"]["State"]),
        (&task["Id"], &json!("Reindex"), &json!("Succeeded"))
    );
    assert_eq!(body["data"]["StartedAt"], task["StartedAt"]);
    assert_eq!(log["Body"], body);
    assert_eq!(log["Attempts"].as_array().map(Vec::len), Some(1));
    assert_eq!(log["Attempts"][0]["Status"], 204);
    assert!(log["Attempts"][0]["LatencyMs"].as_i64().is_some_and(|latency| (0..20_000).contains(&latency)), "{log}");
    assert_eq!(
        header(&requests[0], "webhook-id"),
        format!("msg_{}", log["Id"].as_str().expect("an id").replace('-', ""))
    );
    // The secret is nowhere in plain text.
    let stored: String = stage.value("SELECT secret FROM records.webhook LIMIT 1").await;
    assert!(stored.starts_with("1:"), "{stored}");

    // A cancelled task, too; and nothing of what is rolled back.
    sqlx::query("SELECT longhaul.set_queue('default', paused => true)").execute(&stage.pool).await.expect("paused");
    let task = stage.start(&json!({"Type": "Reindex", "Parameters": {}})).await;
    let guid = uuid::Uuid::parse_str(&task["Id"].as_str().expect("an id")["reindex-".len()..]).expect("a guid");
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    sqlx::query("SELECT longhaul.cancel($1)").bind(guid).execute(&mut *transaction).await.expect("cancelled");
    transaction.rollback().await.expect("a rollback");
    let messages: i64 = stage.value("SELECT count(*) FROM records.webhook_delivery").await;
    assert_eq!(messages, 1);
    sqlx::query("SELECT longhaul.cancel($1)").bind(guid).execute(&stage.pool).await.expect("cancelled");
    let requests = received(&server, 2).await;
    let body: Value = serde_json::from_slice(&requests[1].body).expect("JSON");
    assert_eq!(body["type"], "task.cancelled");
}

#[tokio::test]
async fn what_a_receiver_does_not_take_is_sent_again_under_the_same_id() {
    let server = MockServer::start().await;
    let elsewhere = ResponseTemplate::new(302).insert_header("location", format!("{}/trap", server.uri()).as_str());
    Mock::given(method("POST")).respond_with(elsewhere).up_to_n_times(1).mount(&server).await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let stage = stage(settings()).await;
    let _worker = stage.worker(quick_worker()).await;
    let webhook = subscribe(&stage, json!({"Url": server.uri()})).await;
    stage.start(&json!({"Type": "Reindex", "Parameters": {}})).await;
    let log = delivery(&stage, &webhook, "Delivered").await;
    let requests = received(&server, 2).await;
    assert!(requests.iter().all(|request| request.url.path() == "/"), "redirects are not followed");
    assert_eq!(header(&requests[0], "webhook-id"), header(&requests[1], "webhook-id"));
    assert_eq!(requests[0].body, requests[1].body);
    let statuses: Vec<&Value> =
        log["Attempts"].as_array().expect("attempts").iter().map(|tried| &tried["Status"]).collect();
    assert_eq!(statuses, [302, 200]);
    let (_, shown) = stage.get(&format!("/api/webhook/{webhook}")).await;
    assert_eq!(shown["FailingSince"], Value::Null);

    // Again, on request.
    let id = log["Id"].as_str().expect("an id");
    let (status, sent) = send(&stage, reqwest::Method::POST, &format!("/api/webhookdelivery/{id}/replay"), None).await;
    assert_eq!((status, &sent["DeliveryId"]), (202, &log["Id"]));
    let requests = received(&server, 3).await;
    assert_eq!(header(&requests[2], "webhook-id"), header(&requests[0], "webhook-id"));
    let (status, _) =
        send(&stage, reqwest::Method::POST, &format!("/api/webhookdelivery/{webhook}/replay"), None).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_worker_that_dies_before_it_notes_the_delivery_leaves_it_to_another_with_the_same_id() {
    // Answers later than the worker lives.
    let server = MockServer::start().await;
    let late = ResponseTemplate::new(200).set_delay(Duration::from_secs(15));
    Mock::given(method("POST")).respond_with(late).up_to_n_times(1).mount(&server).await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
    let stage = stage(settings()).await;
    let webhook = subscribe(&stage, json!({"Url": server.uri()})).await;
    let victim = stage.worker(mortal_worker()).await;
    stage.start(&json!({"Type": "Reindex", "Parameters": {}})).await;
    received(&server, 1).await;
    victim.kill().await;
    let _worker = stage.worker(mortal_worker()).await;
    let requests = received(&server, 2).await;
    assert_eq!(header(&requests[0], "webhook-id"), header(&requests[1], "webhook-id"));
    let log = delivery(&stage, &webhook, "Delivered").await;
    assert_eq!(log["Attempts"].as_array().map(Vec::len), Some(1), "{log}");
}

#[tokio::test]
async fn tasks_are_watched_only_while_there_is_a_webhook() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let stage = stage(settings()).await;
    let _worker = stage.worker(quick_worker()).await;
    assert!(!watched(&stage).await);
    let webhook = subscribe(&stage, json!({"Url": server.uri()})).await;
    assert!(watched(&stage).await);
    let path = format!("/api/webhook/{webhook}");
    let (status, body) = send(&stage, reqwest::Method::PATCH, &path, Some(&json!({"Enabled": false}))).await;
    assert_eq!((status, &body["Enabled"]), (200, &json!(false)));
    assert!(!watched(&stage).await);
    let task = stage.start(&json!({"Type": "Reindex", "Parameters": {}})).await;
    stage.ended(&task).await;
    // A ping is sent all the same, and nothing was before.
    let (status, _) = send(&stage, reqwest::Method::POST, &format!("{path}/ping"), None).await;
    assert_eq!(status, 202);
    let requests = received(&server, 1).await;
    let body: Value = serde_json::from_slice(&requests[0].body).expect("JSON");
    assert_eq!(body["type"], "ping");
    send(&stage, reqwest::Method::PATCH, &path, Some(&json!({"Enabled": true}))).await;
    assert!(watched(&stage).await);
    let (status, _) = send(&stage, reqwest::Method::DELETE, &path, None).await;
    assert_eq!(status, 204);
    assert!(!watched(&stage).await);
    assert_eq!(stage.get(&path).await.0, 404);
}

#[tokio::test]
async fn a_receiver_that_is_gone_or_fails_for_too_long_is_sent_nothing_more() {
    let gone = receiver(ResponseTemplate::new(410)).await;
    let broken = receiver(ResponseTemplate::new(500)).await;
    let stage = stage(WebhookSettings { disable_after: Duration::ZERO, ..settings() }).await;
    let _worker = stage.worker(quick_worker()).await;
    let first = subscribe(&stage, json!({"Url": gone.uri()})).await;
    let second = subscribe(&stage, json!({"Url": broken.uri()})).await;
    stage.start(&json!({"Type": "Reindex", "Parameters": {}})).await;
    for webhook in [first, second] {
        let shown = until("the webhook to be disabled", async || {
            let (_, body) = stage.get(&format!("/api/webhook/{webhook}")).await;
            (body["Enabled"] == false).then_some(body)
        })
        .await;
        assert!(shown["DisabledBecause"].as_str().is_some_and(|because| !because.is_empty()), "{shown}");
        assert_ne!(shown["FailingSince"], Value::Null);
    }
    assert!(!watched(&stage).await);
}

#[tokio::test]
async fn no_webhook_reaches_what_not_everybody_reaches() {
    let stage = stage(WebhookSettings::default()).await;
    let _worker = stage.worker(quick_worker()).await;
    for url in [
        "http://127.0.0.1:1/",
        "https://127.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest",
        "http://example.com/",
        "https://user:password@example.com/",
        "nonsense",
        "ftp://example.com/",
    ] {
        let (status, body) = send(&stage, reqwest::Method::POST, "/api/webhooks", Some(&json!({"Url": url}))).await;
        assert_eq!((status, &body["errors"][0]["pointer"]), (400, &json!("/Url")), "{url}: {body}");
    }
    // A name is looked up when it is used.
    let webhook = subscribe(&stage, json!({"Url": "https://localhost:1/"})).await;
    stage.start(&json!({"Type": "Reindex", "Parameters": {}})).await;
    let tried = until("a try", async || {
        let (_, page) = stage.get(&format!("/api/webhookdeliveries?webhook={webhook}")).await;
        page["Items"][0]["Attempts"].get(0).cloned()
    })
    .await;
    assert_eq!(tried["Status"], Value::Null);
    assert!(tried["Error"].as_str().is_some_and(|error| error.contains("no public address")), "{tried}");
}

#[tokio::test]
async fn a_bad_webhook_is_told_what_is_wrong() {
    let stage = stage(settings()).await;
    for (body, pointer) in [
        (json!({}), "/Url"),
        (json!({"Url": "http://127.0.0.1/", "Secret": "whsec_short"}), "/Secret"),
        (json!({"Url": "http://127.0.0.1/", "States": ["Sleeping"]}), "/States/0"),
        (json!({"Url": "http://127.0.0.1/", "Colour": "red"}), "/Colour"),
    ] {
        let (status, problem) = send(&stage, reqwest::Method::POST, "/api/webhooks", Some(&body)).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!(pointer)), "{problem}");
    }
    let keyless = Resources::new().with(Webhooks::new(settings()).expect("a client"));
    let keyless = Stage::builder(shipped::registry()).resources(keyless).start().await;
    let (status, problem) =
        send(&keyless, reqwest::Method::POST, "/api/webhooks", Some(&json!({"Url": "http://127.0.0.1/"}))).await;
    assert_eq!((status, &problem["code"]), (500, &json!("no-secret-key")));
}

/// A secret of these bytes.
fn secret(byte: u8) -> String {
    format!("whsec_{}", STANDARD.encode([byte; 32]))
}

#[tokio::test]
async fn a_secret_is_changed_with_an_overlap_in_which_both_count() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let stage = stage(settings()).await;
    let _worker = stage.worker(quick_worker()).await;
    let (first, second, third) = (secret(1), secret(2), secret(3));
    let webhook = subscribe(&stage, json!({"Url": server.uri(), "Secret": first})).await;
    let path = format!("/api/webhook/{webhook}");
    let change = async |body: Value| {
        let (status, body) = send(&stage, reqwest::Method::PATCH, &path, Some(&body)).await;
        assert_eq!(status, 200, "{body}");
        assert!(!body.to_string().contains("whsec_"), "{body}");
        body
    };
    let mut sent = 0;
    let mut signed_with = async || {
        send(&stage, reqwest::Method::POST, &format!("{path}/ping"), None).await;
        sent += 1;
        let requests = received(&server, sent).await;
        let request = &requests[sent - 1];
        let count = header(request, "webhook-signature").split(' ').count();
        (count, [&first, &second, &third].map(|secret| verifies(request, secret)))
    };
    let (_, shown) = stage.get(&path).await;
    assert_eq!(shown["OldSecretUntil"], Value::Null);
    assert_eq!(signed_with().await, (1, [true, false, false]));

    let shown = change(json!({"Secret": second})).await;
    assert!(shown["OldSecretUntil"].is_string(), "{shown}");
    let hours = "SELECT round(extract(epoch FROM old_secret_until - now()) / 3600)::int FROM records.webhook";
    assert_eq!(stage.value::<i32>(hours).await, 24);
    assert_eq!(signed_with().await, (2, [true, true, false]));
    // The same request again does not make the new one the old one.
    change(json!({"Secret": second})).await;
    assert_eq!(signed_with().await, (2, [true, true, false]));
    // Neither is stored or shown in plain text; only the new one is shown at all.
    let stored: String = stage.value("SELECT w::text FROM records.webhook w").await;
    let (_, told) = stage.get(&format!("{path}/secret")).await;
    assert_eq!(told, json!({"Secret": second}));
    assert!(
        !stored.contains("whsec_") && stage.value::<bool>("SELECT old_secret LIKE '1:%' FROM records.webhook").await
    );

    // Another change: the one before it counts, for as long as was asked for.
    change(json!({"Secret": third, "OldSecretHours": 48})).await;
    assert_eq!(stage.value::<i32>(hours).await, 48);
    assert_eq!(signed_with().await, (2, [false, true, true]));
    // Its time is over.
    sqlx::query("UPDATE records.webhook SET old_secret_until = now()").execute(&stage.pool).await.expect("set");
    assert_eq!(signed_with().await, (1, [false, false, true]));
    let (_, shown) = stage.get(&path).await;
    assert_eq!(shown["OldSecretUntil"], Value::Null);

    // One that others know counts no longer at once.
    change(json!({"Secret": first, "OldSecretHours": 0})).await;
    assert_eq!(signed_with().await, (1, [true, false, false]));
    change(json!({"Secret": second})).await;
    change(json!({"OldSecretHours": 0})).await;
    assert_eq!(signed_with().await, (1, [false, true, false]));
    assert!(stage.value::<bool>("SELECT old_secret IS NULL FROM records.webhook").await);
    for hours in [-1, 721] {
        let body = json!({"OldSecretHours": hours});
        let (status, problem) = send(&stage, reqwest::Method::PATCH, &path, Some(&body)).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!("/OldSecretHours")), "{problem}");
    }
}

/// In how many seconds the task that waits is tried again, once it waits.
async fn wait_for(stage: &Stage, state: &str) -> f64 {
    until(&format!("a delivery to be {state}"), async || {
        let sql = "SELECT extract(epoch FROM run_at - now())::float8 FROM longhaul.tasks \
                    WHERE type = 'DeliverWebhook' AND state::text = $1";
        sqlx::query_scalar(sql).bind(state).fetch_optional(&stage.pool).await.expect("an answer")
    })
    .await
}

#[tokio::test]
async fn a_receiver_that_asks_to_be_left_alone_is_until_then() {
    let server = receiver(ResponseTemplate::new(429).insert_header("retry-after", "900")).await;
    let stage = stage(settings()).await;
    let _worker = stage.worker(quick_worker()).await;
    let webhook = subscribe(&stage, json!({"Url": server.uri()})).await;
    stage.start(&json!({"Type": "Reindex", "Parameters": {}})).await;
    let wait = wait_for(&stage, "Retrying").await;
    assert!((840.0..=900.0).contains(&wait), "{wait} s");
    // Another message waits as long, and spends no attempt on it; a ping is sent.
    stage.start(&json!({"Type": "Reindex", "Parameters": {}})).await;
    let wait = wait_for(&stage, "Scheduled").await;
    assert!((840.0..=900.0).contains(&wait), "{wait} s");
    assert_eq!(received(&server, 1).await.len(), 1);
    send(&stage, reqwest::Method::POST, &format!("/api/webhook/{webhook}/ping"), None).await;
    assert_eq!(received(&server, 2).await.len(), 2);
}

#[tokio::test]
async fn a_short_wait_that_a_receiver_asks_for_does_not_use_up_the_attempts() {
    let server = receiver(ResponseTemplate::new(503).insert_header("retry-after", "0")).await;
    let stage = stage(settings()).await;
    let _worker = stage.worker(quick_worker()).await;
    subscribe(&stage, json!({"Url": server.uri()})).await;
    stage.start(&json!({"Type": "Reindex", "Parameters": {}})).await;
    let wait = wait_for(&stage, "Retrying").await;
    assert!(wait > 2.0, "the policy's 5 s, and not {wait} s");
}

#[tokio::test]
async fn an_address_is_stored_as_it_was_read_whatever_was_pasted_around_it() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let stage = stage(settings()).await;
    let _worker = stage.worker(quick_worker()).await;
    let url = format!("{}/hooks/", server.uri());
    let webhook = subscribe(&stage, json!({"Url": format!(" {}\n", url.replace("http", "HTTP"))})).await;
    let path = format!("/api/webhook/{webhook}");
    assert_eq!(stage.get(&path).await.1["Url"], json!(url));
    let (status, shown) = send(&stage, reqwest::Method::PATCH, &path, Some(&json!({"Url": format!("\t{url}")}))).await;
    assert_eq!((status, &shown["Url"]), (200, &json!(url)), "{shown}");
    send(&stage, reqwest::Method::POST, &format!("{path}/ping"), None).await;
    assert_eq!(received(&server, 1).await[0].url.path(), "/hooks/");
}

#[tokio::test]
async fn what_a_connection_to_a_receiver_died_of_is_written_down() {
    let plain = MockServer::start().await;
    let stage = stage(settings()).await;
    let _worker = stage.worker(quick_worker()).await;
    for (url, told) in [
        ("http://127.0.0.1:1/".to_owned(), "connection was refused"),
        // No name server has to be asked to know that there is no such name.
        (format!("http://{}.invalid/", "a".repeat(70)), "name can't be resolved"),
        (format!("https://{}/", plain.address()), "TLS handshake failed"),
    ] {
        let webhook = subscribe(&stage, json!({"Url": url})).await;
        send(&stage, reqwest::Method::POST, &format!("/api/webhook/{webhook}/ping"), None).await;
        let tried = until("a try", async || {
            let (_, page) = stage.get(&format!("/api/webhookdeliveries?webhook={webhook}")).await;
            page["Items"][0]["Attempts"].get(0).cloned()
        })
        .await;
        assert!(tried["Error"].as_str().is_some_and(|error| error.contains(told)), "{url}: {tried}");
    }
}
