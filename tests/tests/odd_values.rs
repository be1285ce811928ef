//! Values that no one means, in every place of every address: nothing is an internal error.

use longhaul_tests::{Stage, address};
use serde_json::{Value, json};

const ODD: [&str; 9] = [
    "%00",
    "a%00b",
    "-4800-01-01T00:00:00Z",
    "%2B262142-12-31T23:59:59Z",
    "0000-01-01T00:00:00Z",
    "99999999999999999999",
    "-9223372036854775808",
    "%F0%9F%92%A9%E2%80%AE",
    "00000000-0000-0000-0000-00000000000g",
];

#[tokio::test]
async fn no_odd_value_in_an_address_is_an_internal_error() {
    let stage = Stage::new().await;
    let client = longhaul_tests::http_client().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
    let client = client.expect("a client");
    let mut faults = Vec::new();
    let mut asked = 0;
    for (path, item) in stage.openapi["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            if method == "head" {
                continue;
            }
            let mut addresses = Vec::new();
            for odd in ODD {
                if path.contains('{') {
                    let parts = path.split('/').map(|part| if part.starts_with('{') { odd } else { part });
                    addresses.push(parts.collect::<Vec<_>>().join("/"));
                }
                let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
                for parameter in parameters.iter().filter(|parameter| parameter["in"] == "query") {
                    let name = parameter["name"].as_str().expect("a name");
                    addresses.push(format!("{}?{name}={odd}", address(&stage.openapi, path)));
                }
            }
            for address in addresses {
                let url = format!("{}{address}", stage.base_url);
                let request = client.request(method.to_uppercase().parse().expect("a method"), url);
                let request = request.header("sec-fetch-site", "same-origin").json(&json!({}));
                let response = request.send().await.expect("an answer");
                let status = response.status().as_u16();
                let body: Value =
                    serde_json::from_slice(&response.bytes().await.unwrap_or_default()).unwrap_or_default();
                // 500 is also what a task type's problems are.
                if status >= 500 && (body.is_null() || body["code"] == "internal" || status == 503) {
                    faults.push(format!("{method} {address}: {status} {body}"));
                }
                asked += 1;
            }
        }
    }
    assert!(asked > 300, "{asked} requests");
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
async fn names_and_times_that_can_not_be_are_refused_by_name() {
    let stage = Stage::new().await;
    for method in [reqwest::Method::GET, reqwest::Method::PATCH] {
        let request = stage.http.request(method.clone(), format!("{}/api/queues/%00", stage.base_url));
        let response = request.json(&json!({"Paused": true})).send().await.expect("an answer");
        assert_eq!(response.status(), 404, "{method}");
        assert_eq!(response.json::<Value>().await.expect("JSON")["code"], "unknown-queue");
    }
    let long = "q".repeat(101);
    let request = stage.http.patch(format!("{}/api/queues/{long}", stage.base_url));
    let response = request.json(&json!({"Paused": true})).send().await.expect("an answer");
    assert_eq!(response.status(), 400);
    assert_eq!(response.json::<Value>().await.expect("JSON")["errors"][0]["pointer"], "name");
    for name in ["acceptedAfter", "acceptedBefore"] {
        for time in ["-4800-01-01T00:00:00Z", "2026-01-31", "%2B12026-01-31T00:00:00Z"] {
            let (status, problem) = stage.get(&format!("/api/tasks?{name}={time}")).await;
            assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!(name)), "{time}");
        }
        let (status, list) = stage.get(&format!("/api/tasks?{name}=2026-01-31T21:50:00%2B01:00")).await;
        assert_eq!(status, 200, "{list}");
    }
}
