//! Driven by HTTP, as `dev` and as `serve` and `work`.

use longhaul_devdb::testing::TestDatabase;
use longhaul_tests::until;
use serde_json::{Value, json};

use crate::program::{Process, address_in, run};

/// An API of the program and how to reach it.
pub(crate) struct Api {
    http: reqwest::Client,
    base_url: String,
}

impl Api {
    /// From the line of its log that says where it listens.
    pub(crate) fn of(line: &str) -> Self {
        let base_url = address_in(line);
        Self { http: longhaul_tests::http_client().no_proxy().build().expect("a client"), base_url }
    }

    pub(crate) async fn post(&self, request: &Value) -> (u16, Value) {
        let url = format!("{}/api/backgroundtasks", self.base_url);
        let response = self.http.post(url).json(request).send().await.expect("an answer");
        (response.status().as_u16(), response.json().await.expect("JSON"))
    }

    pub(crate) async fn ended(&self, accepted: &Value) -> Value {
        let url = accepted["Self"].as_str().expect("an address");
        until(&format!("{url} to end"), async || {
            let body: Value = self.http.get(url).send().await.expect("an answer").json().await.expect("JSON");
            (body["Complete"] == true).then_some(body)
        })
        .await
    }
}

async fn empty_database() -> TestDatabase {
    TestDatabase::new("empty", async |_url| Ok::<_, std::io::Error>(())).await.expect("a database")
}

/// A migrated database of its own.
pub(crate) async fn database() -> TestDatabase {
    let database = empty_database().await;
    let (code, _, error) = run(&["migrate"], database.url()).await;
    assert_eq!(code, Some(0), "{error}");
    database
}

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

#[tokio::test]
async fn own_task_types_are_served_and_worked_by_processes_of_their_own() {
    let database = database().await;
    let (serving, line) = Process::start_until(&SERVE, database.url(), "the API listens").await;
    let api = Api::of(&line);
    let working = Process::start(&["work"], database.url());

    let (status, accepted) = api.post(&json!({"Type": "Greet", "Parameters": {"Name": "Ada"}})).await;
    assert_eq!((status, &accepted["Complete"]), (202, &json!(false)));
    assert!(accepted["Id"].as_str().expect("an id").starts_with("greet_"), "{accepted}");
    let ended = api.ended(&accepted).await;
    assert_eq!((&ended["State"], &ended["Result"]), (&json!("Succeeded"), &json!("Hello, Ada!")));

    let (status, accepted) = api.post(&json!({"Type": "CountPrimes", "Parameters": {"UpTo": 1_000_000}})).await;
    assert_eq!((status, &accepted["TotalElements"]), (202, &json!(1_000_000)));
    let ended = api.ended(&accepted).await;
    assert_eq!((&ended["State"], &ended["Result"]), (&json!("Succeeded"), &json!({"Primes": 78_498})));
    assert_eq!(ended["ProcessedElements"], 1_000_000);

    assert_eq!(working.terminate().await, Some(0));
    assert_eq!(serving.terminate().await, Some(0));
}

#[tokio::test]
async fn parameters_of_own_types_are_checked_and_every_complaint_has_its_pointer() {
    let database = database().await;
    let (_serving, line) = Process::start_until(&SERVE, database.url(), "the API listens").await;
    let api = Api::of(&line);
    for (request, code, pointers) in [
        (json!({"Type": "CountPrimes", "Parameters": {"UpTo": 0}}), "invalid-parameters", vec!["/Parameters/UpTo"]),
        (json!({"Type": "CountPrimes", "Parameters": {"UpTo": "x"}}), "invalid-parameters", vec!["/Parameters/UpTo"]),
        (
            json!({"Type": "Greet", "Parameters": {"Nam": "Ada"}}),
            "invalid-parameters",
            vec!["/Parameters/Nam", "/Parameters/Name"],
        ),
        (json!({"Type": "Greet", "Parameters": {"Name": ""}}), "invalid-parameters", vec!["/Parameters/Name"]),
    ] {
        let (status, problem) = api.post(&request).await;
        assert_eq!((status, problem["code"].as_str()), (400, Some(code)), "{problem}");
        let told: Vec<&str> = (problem["errors"].as_array().expect("a list").iter())
            .map(|error| error["pointer"].as_str().expect("a pointer"))
            .collect();
        assert_eq!(told, pointers, "{problem}");
    }
    let (status, problem) = api.post(&json!({"Type": "Reindex"})).await;
    assert_eq!((status, &problem["code"]), (400, &json!("unknown-task-type")));
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("CountPrimes") && detail.contains("Greet"), "{detail}");
}

#[tokio::test]
async fn dev_is_all_of_it_in_one_process_on_an_empty_database() {
    let database = empty_database().await;
    let (process, line) =
        Process::start_until(&["dev", "--listen", "127.0.0.1:0"], database.url(), "the API listens").await;
    let api = Api::of(&line);
    let (status, accepted) = api.post(&json!({"Type": "Greet", "Parameters": {"Name": "Grace"}})).await;
    assert_eq!(status, 202);
    assert_eq!(api.ended(&accepted).await["Result"], "Hello, Grace!");
    assert_eq!(process.terminate().await, Some(0));
}

#[tokio::test]
async fn the_program_tells_its_own_name_and_has_no_commands_of_the_shipped_one() {
    let (code, out, _) = run(&["--help"], "").await;
    assert_eq!(code, Some(0));
    assert!(out.contains("Greets people and counts primes"), "{out}");
    for command in ["dev", "serve", "work", "migrate"] {
        assert!(out.contains(command), "{command} is missing in\n{out}");
    }
    assert!(!out.contains("corpus") && !out.contains("import"), "{out}");
    let (_, out, _) = run(&["work", "--help"], "").await;
    assert!(!out.contains("LONGHAUL_SECRET_KEY"), "{out}");
    let (code, _, error) = run(&["work"], "mysql://x").await;
    assert_eq!(code, Some(1));
    assert!(error.starts_with("own_tasks: DATABASE_URL is not"), "{error}");
}

#[tokio::test]
async fn a_program_of_ones_own_tells_what_is_set() {
    let (code, out, error) = run(&["config", "show", "--", "work", "--slots", "7"], "").await;
    assert_eq!(code, Some(0), "{error}");
    let slots = out.lines().find(|line| line.starts_with("slots ")).expect("the slots");
    assert!(slots.contains("7") && slots.contains("flag --slots"), "{out}");
}
