//! API keys from the command line, and two API processes that take them.

use std::time::{Duration, Instant};

use longhaul_tests::{Stage, until};
use serde_json::{Value, json};

use crate::program::{Process, run};

async fn json(arguments: &[&str], database_url: &str) -> Value {
    let (code, out, error) = run(arguments, database_url).await;
    assert_eq!(code, Some(0), "{error}");
    serde_json::from_str(&out).expect("JSON")
}

async fn serve(database_url: &str) -> (Process, String) {
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--authenticate"];
    let (process, line) = Process::start_until(&arguments, database_url, "the API listens").await;
    let url = line.split("http://").nth(1).expect("an address").trim_end_matches('"');
    (process, format!("http://{}", url.split(['"', '\u{1b}', ' ']).next().expect("an address")))
}

async fn status(base_url: &str, key: &str) -> u16 {
    let client = longhaul_tests::http_client().no_proxy().build().expect("a client");
    client.get(format!("{base_url}/api/queues")).bearer_auth(key).send().await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn a_key_is_made_listed_and_revoked_everywhere_within_seconds() {
    let stage = Stage::new().await;
    let url = stage.database_url();
    let made = json(
        &["key", "create", "--name", "ci", "--permission", "Administration/Queues/*", "--expires", "90d", "--json"],
        url,
    )
    .await;
    let key = made["Key"].as_str().expect("a key");
    let api = &stage.logins().api;
    let ((one, first), (two, second)) = (serve(api).await, serve(api).await);
    for base_url in [&first, &second] {
        assert_eq!(status(base_url, key).await, 200);
        assert_eq!(status(base_url, "lh_nonsense").await, 401);
    }
    let listed = json(&["key", "list", "--json"], url).await;
    assert_eq!(listed[0]["Prefix"], made["Prefix"]);
    assert_eq!(listed[0]["Permissions"], json!(["Administration/Queues/*"]));
    assert!(listed[0]["LastUsedAt"].is_string() && listed[0]["ExpiresAt"].is_string(), "{listed}");
    assert!(!listed.to_string().contains(&key[14..]), "the secret is shown once only");

    let revoked = json(&["key", "revoke", made["Prefix"].as_str().expect("a prefix"), "--json"], url).await;
    assert_eq!(revoked["Revoked"], json!([made["Prefix"]]));
    let began = Instant::now();
    for base_url in [&first, &second] {
        until("the key to be refused", async || (status(base_url, key).await == 401).then_some(())).await;
    }
    assert!(began.elapsed() < Duration::from_secs(5), "refused everywhere after {:?}", began.elapsed());
    drop((one, two));
}

#[tokio::test]
async fn what_is_no_key_is_not_made() {
    let stage = Stage::new().await;
    let url = stage.database_url();
    let create = |more: &'static [&'static str]| {
        let arguments = [&["key", "create", "--name", "a", "--permission", "A/B"][..], more].concat();
        async move { run(&arguments, url).await }
    };
    let (code, out, error) = create(&[]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(out.starts_with("lh_") && error.contains("not shown again"), "{error}");
    for (more, complaint) in [
        (&[][..], "--again"),
        (&["--name", "b"], "cannot be used multiple times"),
        (&["--permission", "A B"], "is not a permission"),
        (&["--project", "x"], "--project"),
        (&["--expires", "soon"], "days (90d)"),
        (&["--expires", "2001-01-01T00:00:00Z"], "is in the past"),
        (&["--secret", "short"], "at least 32 characters"),
    ] {
        let (code, _, error) = create(more).await;
        assert!(code != Some(0) && error.contains(complaint), "{more:?}: {error}");
    }
    let (code, _, error) = run(&["key", "create", "--name", "a b", "--permission", "*"], url).await;
    assert!(code == Some(1) && error.contains("is not a valid name"), "{error}");
    let (code, _, error) = run(&["key", "revoke", "nobody"], url).await;
    assert!(code == Some(1) && error.contains("there is no key"), "{error}");
}
