//! The recipes of `docs/cookbook.md`: each request on the page is sent to the example's program.

#[path = "../process/program.rs"]
#[expect(dead_code, reason = "shared with the tests of the shipped program")]
mod program;

use std::collections::BTreeMap;

use longhaul_devdb::testing::TestDatabase;
use longhaul_tests::until;
use serde_json::{Value, json};

use crate::program::{Process, address_in, run};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_cookbook");

const PAGE: &str = include_str!("../../docs/cookbook.md");

/// The requests on the page: method, path and body.
fn requests() -> Vec<(String, String, Option<Value>)> {
    let blocks =
        PAGE.split("\n```\n").filter(|block| ["POST /", "PUT /", "PATCH /"].iter().any(|verb| block.starts_with(verb)));
    let request = |block: &str| {
        let (line, body) = block.split_once('\n').unwrap_or((block, ""));
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let body =
            (!body.is_empty()).then(|| serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")));
        (method.to_owned(), path.to_owned(), body)
    };
    blocks.map(request).collect()
}

struct Api {
    http: reqwest::Client,
    base_url: String,
}

impl Api {
    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let request = self.http.request(method.parse().expect("a method"), format!("{}{path}", self.base_url));
        let request = if let Some(body) = body { request.json(body) } else { request };
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    async fn get(&self, task: &Value, below: &str) -> Value {
        let url = format!("{}{below}", task["Self"].as_str().expect("an address"));
        self.http.get(url).send().await.expect("an answer").json().await.expect("JSON")
    }

    async fn ended(&self, task: &Value) -> Value {
        until(&format!("{} to end", task["Self"]), async || {
            let body = self.get(task, "").await;
            (body["Complete"] == true).then_some(body)
        })
        .await
    }
}

#[tokio::test]
async fn every_recipe_does_what_the_cookbook_says() {
    let database = TestDatabase::new("empty", async |_url| Ok::<_, std::io::Error>(())).await.expect("a database");
    let (_process, line) =
        Process::start_until(&["dev", "--listen", "127.0.0.1:0"], database.url(), "the API listens").await;
    let http = longhaul_tests::http_client().no_proxy().build().expect("a client");
    let api = Api { http, base_url: address_in(&line) };

    let mut started: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let requests = requests();
    assert!(requests.len() >= 10, "{requests:?}");
    for (method, path, body) in &requests {
        let (status, answer) = api.send(method, path, body.as_ref()).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        let tasks = answer["Tasks"].as_array().cloned().unwrap_or_else(|| vec![answer]);
        for task in tasks {
            if let Some(type_name) = task["Type"].as_str().filter(|_| task["Self"].is_string()) {
                started.entry(type_name.to_owned()).or_default().push(task);
            }
        }
    }
    let only = |type_name: &str| match started[type_name].as_slice() {
        [one] => one.clone(),
        more => panic!("{more:?}"),
    };

    let newsletter = api.ended(&only("SendNewsletter")).await;
    assert_eq!(newsletter["Result"], json!({"Sent": 2, "NotSent": 1}), "{newsletter}");
    assert_eq!(newsletter["Family"]["Children"], 3);

    let report = &api.send("GET", "/api/schedules/nightly-report", None).await.1;
    assert_eq!((&report["Cron"], &report["TimeZone"]), (&json!("30 2 * * *"), &json!("Europe/Berlin")));
    let ran = until("the report", async || {
        let list = api.send("GET", "/api/tasks?type=DailyReport&state=Succeeded", None).await.1;
        list["Items"].get(0).cloned()
    })
    .await;
    assert_eq!(api.get(&ran, "").await["Result"]["Contacts"], 0, "{ran}");

    let accepted = only("ImportContacts");
    assert_eq!(accepted["TotalElements"], 3);
    let import = api.ended(&accepted).await;
    assert_eq!(import["Result"], json!({"Lines": 3, "Imported": 2, "Skipped": 1}), "{import}");
    assert_eq!(import["ProcessedElements"], 3);
    let log = api.get(&accepted, "/log").await;
    assert_eq!(log["Items"][0]["Line"], "skipped: a line without an address");

    let waiting = only("AwaitApproval");
    until("the task to wait for a person", async || {
        (api.get(&waiting, "").await["Message"] == "Waiting for an editor").then_some(())
    })
    .await;
    let (code, published, error) = run(&["approve", "17"], database.url()).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(published.starts_with("publisharticle_"), "{published}");
    let approved = api.ended(&waiting).await;
    assert_eq!((&approved["State"], &approved["Attempt"]), (&json!("Succeeded"), &json!(1)), "{approved}");
    let published = json!({"Self": format!("{}/api/backgroundtask/{}", api.base_url, published.trim())});
    assert_eq!(api.ended(&published).await["Result"], "Article 17 is public.");

    let rate = api.ended(&only("FetchRate")).await;
    assert_eq!((&rate["Result"], &rate["Attempt"]), (&json!(1.5), &json!(2)), "{rate}");
    let queue = api.send("GET", "/api/queues/partner", None).await.1;
    assert_eq!((&queue["RateCount"], &queue["MaxRunning"]), (&json!(100), &json!(5)), "{queue}");

    let welcomes = &started["WelcomeCustomer"];
    assert_eq!(welcomes.len(), 2);
    assert_eq!(welcomes[0]["Id"], welcomes[1]["Id"]);

    let shipped = api.ended(&only("ShipOrder")).await;
    assert_eq!(shipped["Result"], "Order 4711 left shelf 1.", "{shipped}");
}

#[tokio::test]
async fn a_declined_card_cancels_the_shipment() {
    let database = TestDatabase::new("empty", async |_url| Ok::<_, std::io::Error>(())).await.expect("a database");
    let (_process, line) =
        Process::start_until(&["dev", "--listen", "127.0.0.1:0"], database.url(), "the API listens").await;
    let http = longhaul_tests::http_client().no_proxy().build().expect("a client");
    let api = Api { http, base_url: address_in(&line) };
    let (_, _, chain) = requests().into_iter().find(|(_, path, _)| path.ends_with("/batch")).expect("the chain");
    let mut chain = chain.expect("a body");
    chain["Tasks"][1]["Parameters"]["Cents"] = json!(100_001);
    let (status, answer) = api.send("POST", "/api/backgroundtasks/batch", Some(&chain)).await;
    assert_eq!(status, 202, "{answer}");
    let shipment = api.ended(&answer["Tasks"][2]).await;
    assert_eq!((&shipment["State"], &shipment["Error"]["code"]), (&json!("Cancelled"), &json!("dependency-failed")));
}
