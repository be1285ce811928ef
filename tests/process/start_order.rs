//! Processes start in any order: what is not there yet is waited for, and told.

use longhaul_devdb::{Options, Server};
use longhaul_tests::until;
use reqwest::Client;
use serde_json::{Value, json};

use crate::program::{Process, run};
use crate::supervised::free_address;

async fn status(client: &Client, address: &str, path: &str) -> Option<u16> {
    let answer = client.get(format!("http://{address}{path}")).send().await.ok()?;
    Some(answer.status().as_u16())
}

/// Waits until the process at this address answers so.
async fn tells(client: &Client, address: &str, path: &str, expected: u16) {
    until(&format!("{address}{path} to be {expected}"), async || {
        (status(client, address, path).await == Some(expected)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn api_and_worker_start_before_the_database_and_before_its_schema_and_go_on_by_themselves() {
    let mut server = Server::start(Options::temporary()).await.expect("a server");
    let url = server.admin_url();
    server.halt_immediate().await.expect("a halt");
    let client = longhaul_tests::http_client().no_proxy().build().expect("a client");
    let addresses = [(); 4].map(|()| free_address());
    let [api, second_api, worker, second_worker] = addresses.each_ref().map(String::as_str);
    // Before the server.
    let first = Process::start_until(&["serve", "--listen", api], &url, "the API waits for the database").await;
    assert!(first.1.contains("could not connect"), "{}", first.1);
    let second =
        Process::start_until(&["work", "--metrics-listen", worker], &url, "the worker waits for the database").await;
    assert!(second.1.contains("could not connect"), "{}", second.1);
    tells(&client, api, "/health/live", 200).await;
    tells(&client, api, "/health/ready", 503).await;
    tells(&client, worker, "/health/ready", 503).await;
    let url_of_tasks = |api: &str| format!("http://{api}/api/backgroundtasks");
    let task = json!({"Type": "Reindex"});
    let answer = client.post(url_of_tasks(api)).json(&task).send().await.expect("an answer");
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(
        (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON")["code"].as_str()),
        (503, Some("unavailable"))
    );

    // Before the schema.
    server.resume().await.expect("it starts");
    let third = Process::start_until(&["serve", "--listen", second_api], &url, "the API waits for the database").await;
    let fourth =
        Process::start_until(&["work", "--metrics-listen", second_worker], &url, "the worker waits for the database")
            .await;
    assert!(fourth.1.contains(" migrate`"), "{}", fourth.1);
    for (address, path) in [(api, "/health/ready"), (second_api, "/health/ready"), (second_worker, "/health/ready")] {
        tells(&client, address, path, 503).await;
    }

    let (code, _, error) = run(&["migrate"], &url).await;
    assert_eq!(code, Some(0), "{error}");
    for address in [api, second_api, worker, second_worker] {
        tells(&client, address, "/health/ready", 200).await;
    }
    for api in [api, second_api] {
        let answer = client.post(url_of_tasks(api)).json(&task).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 202);
        let started: Value = answer.json().await.expect("JSON");
        let at = started["Self"].as_str().expect("an address");
        until("the task to end", async || {
            let body: Value = client.get(at).send().await.ok()?.json().await.ok()?;
            (body["Complete"] == true).then_some(())
        })
        .await;
    }
    for (process, _) in [first, second, third, fourth] {
        assert_eq!(process.terminate().await, Some(0));
    }
}

#[tokio::test]
async fn a_process_that_waits_for_its_database_stops_when_it_is_told() {
    let nowhere = "postgres://nobody@127.0.0.1:1/nothing";
    for arguments in [&["work"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let (process, _) = Process::start_until(arguments, nowhere, "waits for the database").await;
        assert_eq!(process.terminate().await, Some(0), "{arguments:?}");
    }
}
