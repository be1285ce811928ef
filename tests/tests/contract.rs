//! The wire contract: the request and response pairs of the original's
//! documentation, and the rules of the task body.

use longhaul_tests::{Example, Stage, assert_shows, fill_project, quick_worker, shipped};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

/// The project of the seed's example.
const PROJECT: Uuid = uuid!("c651ed19-5375-475a-a539-9f6401467130");

/// The eight members that are always there, by name and JSON type.
const MEMBERS: [(&str, &str); 8] = [
    ("Complete", "boolean"),
    ("TotalElements", "integer"),
    ("ProcessedElements", "integer"),
    ("StartedAt", "string"),
    ("ProgressInPercent", "number"),
    ("Id", "string"),
    ("Message", "string or null"),
    ("Self", "string"),
];

fn type_fits(value: &Value, expected: &str) -> bool {
    match expected {
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64(),
        "number" => value.is_f64(),
        "string" => value.is_string(),
        _ => value.is_string() || value.is_null(),
    }
}

fn assert_members(body: &Value) {
    for (name, expected) in MEMBERS {
        let value = body.get(name).unwrap_or_else(|| panic!("{name} is missing in {body}"));
        assert!(type_fits(value, expected), "{name} of {body} should be {expected}");
    }
}

#[tokio::test]
async fn the_seeds_first_reindex_is_answered_as_documented() {
    let stage = Stage::new().await;
    fill_project(&stage.pool, PROJECT, 9).await;
    assert_members(&Example::of("Reindex", 0).assert_answered(&stage).await);
}

#[tokio::test]
async fn the_seeds_second_reindex_is_answered_as_documented() {
    let stage = Stage::new().await;
    fill_project(&stage.pool, PROJECT, 9).await;
    assert_members(&Example::of("Reindex", 1).assert_answered(&stage).await);
}

#[tokio::test]
async fn a_task_is_found_by_every_path_in_any_case() {
    let stage = Stage::new().await;
    let started = stage.start(&json!({"Type": "Reindex"})).await;
    let id = started["Id"].as_str().expect("an id");
    for path in [
        format!("/api/backgroundtask/{id}"),
        format!("/api/backgroundtasks/{id}"),
        format!("/api/backgroundtask/{}", id.to_uppercase()),
        format!("/api/{id}"),
        format!("/api/{}", id.to_uppercase()),
    ] {
        let (status, body) = stage.get(&path).await;
        assert_eq!((status, &body["Id"], &body["Self"]), (200, &started["Id"], &started["Self"]), "{path}");
        assert_members(&body);
    }
}

#[tokio::test]
async fn the_short_address_is_that_of_tasks_of_every_type() {
    let stage = Stage::new().await;
    for entry in shipped::registry().iter() {
        let info = *entry.info();
        let id = stage.enqueue(info, vec![json!({})]).await[0];
        let [short, long] = ["api", "api/backgroundtask"].map(|path| format!("/{path}/{}{id}", info.id_prefix));
        assert_eq!(stage.get(&short).await, stage.get(&long).await, "{short}");
        let ask = async |method: Method| {
            let request = stage.http.request(method, format!("{}{short}", stage.base_url));
            request.send().await.expect("an answer").status().as_u16()
        };
        assert_eq!(
            (ask(Method::GET).await, ask(Method::HEAD).await, ask(Method::DELETE).await),
            (200, 200, 200),
            "{short}"
        );
        assert_eq!(stage.get(&long).await.1["State"], "Cancelled", "{short}");
    }
}

#[tokio::test]
async fn the_short_address_of_a_task_answers_as_the_long_one_does() {
    let stage = Stage::new().await;
    let base_url = &stage.base_url;
    let ask = async |method: &str, address: String| {
        let request = stage.http.request(method.parse().expect("a method"), address).header("accept", "*/*");
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let header = |name: &str| headers.get(name).map(|value| value.to_str().expect("text").to_owned());
        let seen = (status, header("content-type"), header("content-length"), header("allow"));
        (seen, response.text().await.expect("a body"))
    };
    let started = stage.start(&json!({"Type": "Reindex"})).await;
    let id = started["Id"].as_str().expect("an id");
    let unknown = format!("reindex-{}", Uuid::nil());
    for id in [id, unknown.as_str()] {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH"] {
            let long = ask(method, format!("{base_url}/api/backgroundtask/{id}")).await;
            let short = ask(method, format!("{base_url}/api/{id}")).await;
            assert_eq!(long.0, short.0, "{method} {id}");
            if long.0.0 == 200 {
                assert_eq!(long.1, short.1, "{method} {id}");
            }
        }
    }
    // Neither takes the address of anything else.
    assert_eq!(stage.get("/api/queues").await.0, 200);
    for path in ["/api/nonsense", "/api/reindex-7", "/api/x/00000000-0000-0000-0000-000000000000"] {
        let (status, problem) = stage.get(path).await;
        assert_eq!((status, &problem["code"]), (404, &json!("unknown-route")), "{path}");
    }
    let response = stage.http.delete(format!("{base_url}/api/{id}")).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let (_, body) = stage.get(&format!("/api/{id}")).await;
    assert_eq!(body["State"], "Cancelled");
    assert_eq!(ask("DELETE", format!("{base_url}/api/{unknown}")).await.0.0, 404);
    let metrics = stage.http.get(format!("{base_url}/metrics")).send().await.expect("an answer");
    let metrics = metrics.text().await.expect("a text");
    assert!(metrics.contains("route=\"/api/{id}\""), "{metrics}");
}

#[tokio::test]
async fn a_post_to_the_singular_path_starts_a_task_too() {
    let stage = Stage::new().await;
    let response = stage
        .http
        .post(format!("{}/api/backgroundtask", stage.base_url))
        .json(&json!({"Type": "Reindex", "Parameters": {}}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 202);
}

#[tokio::test]
async fn the_body_tells_the_life_of_a_task() {
    let stage = Stage::new().await;
    fill_project(&stage.pool, PROJECT, 25).await;
    let queued = stage.start(&json!({"Type": "Reindex", "Parameters": {"ProjectId": PROJECT}})).await;
    assert_eq!((&queued["State"], &queued["Attempt"]), (&json!("Queued"), &json!(0)));
    assert!(queued.get("FinishedAt").is_none() && queued.get("Error").is_none());
    let (_, same) = stage.get(queued["Self"].as_str().expect("an address")).await;
    // Nothing runs it, so nothing changes.
    assert_shows(&same, &queued);

    let worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(&queued).await;
    assert_members(&ended);
    assert_eq!(ended["State"], "Succeeded");
    assert_eq!(ended["ProgressInPercent"], json!(1.0));
    assert_eq!((&ended["TotalElements"], &ended["ProcessedElements"]), (&json!(26), &json!(26)));
    assert_eq!(ended["StartedAt"], queued["StartedAt"], "it never changes");
    assert!(ended["FinishedAt"].as_str().expect("a time").ends_with('Z'));
    assert_eq!((&ended["Type"], &ended["Attempt"]), (&json!("Reindex"), &json!(1)));
    assert_eq!(ended["Links"], json!([{"Href": ended["Self"], "Rel": "Self"}]));
    worker.stop().await;
}

#[tokio::test]
async fn a_202_is_durable_before_it_is_sent() {
    let stage = Stage::new().await;
    let started = stage.start(&json!({"Type": "Reindex"})).await;
    let stored: i64 = stage.value("SELECT count(*) FROM longhaul.tasks WHERE state = 'Queued'").await;
    assert_eq!(stored, 1);
    let public_id: String = stage.value("SELECT public_id FROM longhaul.tasks").await;
    assert_eq!(started["Id"], json!(public_id));
}

#[tokio::test]
async fn health_tells_alive_from_ready() {
    let stage = Stage::new().await;
    assert_eq!(stage.get("/health/live").await, (200, json!({"status": "live"})));
    assert_eq!(stage.get("/health/ready").await, (200, json!({"status": "ready"})));
}
