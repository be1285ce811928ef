//! Webhooks of a program with task types of its own, as a receiver sees them.

use longhaul_devdb::testing::TestDatabase;
use longhaul_tests::until;
use serde_json::{Value, json};
use sqlx::PgPool;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::program::{Process, address_in, run};

#[tokio::test]
async fn a_program_of_ones_own_tells_webhooks_of_the_ends_of_its_tasks() {
    let database = TestDatabase::new("empty", async |_url| Ok::<_, std::io::Error>(())).await.expect("a database");
    for _ in 0..2 {
        let (code, _, error) = run(&["migrate"], database.url()).await;
        assert_eq!(code, Some(0), "{error}");
    }
    let receiver = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(204)).mount(&receiver).await;
    let key = format!("--secret-key={}", "5a".repeat(32));
    let dev = ["dev", "--listen", "127.0.0.1:0", "--allow-private-webhooks", &key];
    let (_dev, line) = Process::start_until(&dev, database.url(), "the API listens").await;
    let base_url = address_in(&line);
    let http = longhaul_tests::http_client().no_proxy().build().expect("a client");
    let post = async |path: &str, body: Value| -> Value {
        let answer = http.post(format!("{base_url}{path}")).json(&body).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.text().await.expect("text"));
        answer.json().await.expect("JSON")
    };
    let webhook = post("/api/webhooks", json!({"Url": receiver.uri(), "Types": ["Leaf"]})).await;
    let task = post("/api/backgroundtasks", json!({"Type": "Leaf", "Parameters": {}})).await;
    post("/api/backgroundtasks", json!({"Type": "Spread", "Parameters": {"leaves": 0}})).await;
    let told = until("the receiver to be told", async || receiver.received_requests().await?.pop()).await;
    let message: Value = told.body_json().expect("JSON");
    assert_eq!((&message["type"], &message["data"]["Id"]), (&json!("task.succeeded"), &task["Id"]), "{message}");
    for header in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        assert!(told.headers.contains_key(header), "{header}");
    }
    let deliveries = format!("{base_url}/api/webhookdeliveries?webhook={}", webhook["Id"].as_str().expect("an id"));
    until("the delivery to be noted", async || {
        let log: Value = http.get(&deliveries).send().await.ok()?.json().await.ok()?;
        (log["Items"][0]["State"] == "Delivered" && log["Items"].as_array()?.len() == 1).then_some(())
    })
    .await;
    let pool = PgPool::connect(database.url()).await.expect("the database answers");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'records'";
    let tables: i64 = sqlx::query_scalar(tables).fetch_one(&pool).await.expect("a number");
    assert_eq!(tables, 4, "those of webhooks and of migrations, and no records");
}
