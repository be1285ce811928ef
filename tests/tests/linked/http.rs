//! The same over HTTP.

use longhaul_tests::{Stage, quick_worker, until};
use serde_json::{Value, json};

use super::scene::{nothing_is_left, stage};

async fn post_batch(stage: &Stage, body: &Value) -> (u16, Value) {
    let url = format!("{}/api/backgroundtasks/batch", stage.base_url);
    let response = stage.http.post(url).json(body).send().await.expect("the API answers");
    (response.status().as_u16(), response.json().await.expect("a JSON body"))
}

fn piece(number: i64) -> Value {
    json!({"Type": "Piece", "Parameters": {"number": number}})
}

#[tokio::test]
async fn a_graph_a_parent_and_what_comes_then_are_one_request() {
    let stage = stage().await;
    let (status, body) = post_batch(
        &stage,
        &json!({
            "Parent": {"IfFailed": "Continue", "Then": {"Type": "Gather"}},
            "Tasks": [
                {"Type": "Piece", "Name": "last", "Parameters": {"number": 3}, "After": ["first", {"Task": "second", "IfFailed": "Run"}]},
                {"Type": "Piece", "Name": "first", "Parameters": {"number": 1}},
                {"Type": "Piece", "Name": "second", "Parameters": {"number": 2, "fails": true}}
            ]
        }),
    )
    .await;
    assert_eq!(status, 202, "{body}");
    let parent = &body["Parent"];
    assert!(parent["Id"].as_str().expect("an id").starts_with("batch_"));
    assert_eq!(
        (&parent["State"], &parent["TotalElements"], &parent["ProgressInPercent"]),
        (&json!("Running"), &json!(3), &json!(0.0))
    );
    assert_eq!(parent["Family"], json!({"Children": 3, "Succeeded": 0, "Failed": 0, "Cancelled": 0}));
    assert_eq!((&body["Tasks"][0]["State"], &body["Tasks"][0]["WaitsFor"]), (&json!("Queued"), &json!(2)));
    assert_eq!(body["Tasks"][0]["Parent"], parent["Id"]);
    assert_eq!(body["Then"]["WaitsFor"], 1);

    let _worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(parent).await;
    assert_eq!((&ended["State"], &ended["Error"]["code"]), (&json!("Failed"), &json!("children-failed")));
    let then = stage.ended(&body["Then"]).await;
    assert_eq!(then["Result"][0]["State"], "Failed");
    assert_eq!(then["Result"][0]["Result"], json!({"Children": 3, "Succeeded": 2, "Failed": 1, "Cancelled": 0}));

    let (_, children) = stage.get(&format!("{}/children?limit=2", parent["Self"].as_str().expect("Self"))).await;
    let states = |page: &Value| -> Vec<Value> {
        page["Items"].as_array().expect("a list").iter().map(|child| child["State"].clone()).collect()
    };
    assert_eq!(states(&children), ["Succeeded", "Succeeded"]);
    let (_, rest) = stage.get(children["Next"].as_str().expect("a second page")).await;
    assert_eq!((states(&rest), &rest["Items"][0]["Number"]), (vec![json!("Failed")], &json!(3)));
    let (_, ties) = stage.get(&format!("{}/dependencies", body["Tasks"][0]["Self"].as_str().expect("Self"))).await;
    let on: Vec<&Value> = ties["After"].as_array().expect("a list").iter().map(|one| &one["IfFailed"]).collect();
    assert_eq!((on, &ties["Before"]), (vec![&json!("Cancel"), &json!("Run")], &json!([])));
    nothing_is_left(&stage).await;
}

#[tokio::test]
async fn a_map_over_a_list_is_one_request_and_deleting_its_parent_cancels_the_rest() {
    let stage = stage().await;
    let map =
        json!({"Map": {"Type": "Piece", "Over": "number", "Values": [1, 2, 3, 4], "Parameters": {"takes_ms": 1}}});
    let (status, body) = post_batch(&stage, &map).await;
    assert_eq!((status, &body["Tasks"]), (202, &Value::Null), "{body}");
    let worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(&body["Parent"]).await;
    assert_eq!(
        (&ended["State"], &ended["TotalElements"], &ended["ProcessedElements"]),
        (&json!("Succeeded"), &json!(40), &json!(40))
    );
    assert_eq!(ended["Result"], json!({"Children": 4, "Succeeded": 4, "Failed": 0, "Cancelled": 0}));
    worker.stop().await;

    let (_, body) = post_batch(&stage, &map).await;
    let address = body["Parent"]["Self"].as_str().expect("Self").to_owned();
    let asked = stage.http.delete(&address).send().await.expect("the API answers");
    assert_eq!(asked.status(), 202);
    let _worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(&body["Parent"]).await;
    assert_eq!((&ended["State"], &ended["Family"]["Children"]), (&json!("Cancelled"), &json!(4)));
    nothing_is_left(&stage).await;
}

#[tokio::test]
async fn one_task_may_wait_for_an_earlier_request_and_a_repeated_one_is_the_same() {
    let stage = stage().await;
    let first = stage.start(&piece(1)).await;
    let waits =
        json!({"Type": "Piece", "Parameters": {"number": 2}, "After": [{"Task": first["Id"], "IfFailed": "Fail"}]});
    let url = format!("{}/api/backgroundtasks", stage.base_url);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let response =
            stage.http.post(&url).header("Idempotency-Key", "one").json(&waits).send().await.expect("the API answers");
        assert_eq!(response.status(), 202);
        let body: Value = response.json().await.expect("a JSON body");
        assert_eq!((&body["State"], &body["WaitsFor"]), (&json!("Queued"), &json!(1)));
        ids.push(body["Self"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    let _worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(&json!({"Self": ids[0]})).await;
    assert_eq!((&ended["State"], &ended["WaitsFor"]), (&json!("Succeeded"), &Value::Null));
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 2);
}

#[tokio::test]
async fn every_mistake_is_listed_and_nothing_is_stored() {
    let stage = stage().await;
    let unknown = "piece_01900000-0000-7000-8000-000000000000";
    for (body, code, pointers) in [
        (json!({"Tasks": [piece(1)], "Map": {}}), "invalid-request", vec!["/Map"]),
        (json!({"Map": {"Type": "Piece"}}), "invalid-request", vec!["/Map/Over", "/Map/Values"]),
        (
            json!({"Map": {"Type": "Piece", "Over": "number", "Values": ["x", 1, null]}}),
            "invalid-parameters",
            vec!["/Map/Values/0/Parameters/number", "/Map/Values/2/Parameters/number"],
        ),
        (
            json!({"Tasks": [piece(1)], "Parent": {"IfFailed": "Explode", "Than": 1}}),
            "invalid-request",
            vec!["/Parent/IfFailed", "/Parent/Than"],
        ),
        (
            json!({"Tasks": [piece(1)], "Parent": {"Then": {"Type": "Piece", "Parameters": {}}}}),
            "invalid-parameters",
            vec!["/Parent/Then/Parameters/number"],
        ),
        (
            json!({"Tasks": [{"Type": "Gather", "Name": "a"}, {"Type": "Gather", "Name": "a"}]}),
            "invalid-request",
            vec!["/Tasks/1/Name"],
        ),
        (
            json!({"Tasks": [{"Type": "Gather", "After": ["nobody", 7, {"Task": "x", "If": 1}]}]}),
            "invalid-request",
            vec!["/Tasks/0/After/1", "/Tasks/0/After/2"],
        ),
        (json!({"Tasks": [{"Type": "Gather", "After": ["nobody"]}]}), "invalid-request", vec!["/Tasks/0/After/0"]),
        (
            json!({"Tasks": [{"Type": "Gather", "After": [unknown, unknown]}]}),
            "invalid-request",
            vec!["/Tasks/0/After/1"],
        ),
    ] {
        let (status, answer) = post_batch(&stage, &body).await;
        let found: Vec<&str> =
            answer["errors"].as_array().expect("a list").iter().filter_map(|error| error["pointer"].as_str()).collect();
        assert_eq!((status, answer["code"].as_str(), found), (400, Some(code), pointers), "{body}: {answer}");
    }
    let ring = json!({"Tasks": [
        {"Type": "Gather", "Name": "a", "After": ["b"]}, {"Type": "Gather", "Name": "b", "After": ["a"]}]});
    for body in [ring, json!({"Tasks": [{"Type": "Gather", "After": [unknown]}]})] {
        let (status, answer) = post_batch(&stage, &body).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some("unknown-prerequisite")), "{answer}");
    }
    let response = stage.post(&json!({"Type": "Gather", "After": [unknown]})).await;
    assert_eq!(response.status(), 400);
    let response = stage.post(&json!({"Type": "Batch"})).await;
    assert_eq!(response.status(), 400);
    let answer: Value = response.json().await.expect("a JSON body");
    assert_eq!(answer["errors"][0]["pointer"], "/Type", "{answer}");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0);
}

#[tokio::test]
async fn the_follower_goes_on_where_a_lost_notification_left_it() {
    let stage = stage().await;
    let first = stage.start(&piece(1)).await;
    let second = stage.start(&json!({"Type": "Piece", "Parameters": {"number": 2}, "After": [first["Id"]]})).await;
    // Ended while no worker was there to hear of it.
    sqlx::raw_sql("SELECT longhaul.cancel(id) FROM longhaul.task WHERE followed")
        .execute(&stage.pool)
        .await
        .expect("ended");
    let _worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(&second).await;
    assert_eq!((&ended["State"], &ended["Error"]["code"]), (&json!("Cancelled"), &json!("dependency-failed")));
    until("nothing to be noted", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.ended").await == 0).then_some(())
    })
    .await;
}
