//! Every process under a login that has its database role and nothing else.

use longhaul_tests::{Stage, until};
use reqwest::header::SET_COOKIE;
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use crate::program::{Process, address_in, run};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/timezones.ndjson");

/// Runs to the end, which must be a good one; returns standard output.
async fn good(arguments: &[&str], database_url: &str) -> String {
    let (code, out, error) = run(arguments, database_url).await;
    assert_eq!(code, Some(0), "{arguments:?}: {error}");
    out
}

#[tokio::test]
async fn from_migrate_to_the_logout_each_process_has_the_rights_it_needs() {
    let stage = Stage::new().await;
    let logins = stage.logins();
    // The stage was migrated by an administrator, who now hands all of it over.
    good(&["roles", "--apply"], stage.database_url()).await;
    good(&["migrate"], &logins.owner).await;
    let made = good(&["key", "create", "--name", "ops", "--permission", "*", "--json"], &logins.owner).await;
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let key = made["Key"].as_str().expect("a key");
    assert!(good(&["import", SAMPLE], &logins.worker).await.contains("559 entities"));
    let serve = ["serve", "--listen", "127.0.0.1:0", "--authenticate"];
    let (api, line) = Process::start_until(&serve, &logins.api, "the API listens").await;
    let base_url = address_in(&line);
    let (worker, _) = Process::start_until(&["work"], &logins.worker, "worker").await;

    // A person logs in, works, and leaves.
    let client = longhaul_tests::http_client().no_proxy().redirect(Policy::none()).build().expect("a client");
    let send = async |method: &str, path: &str, cookie: &str, form: Option<String>, body: Option<Value>| {
        let request = client.request(method.parse().expect("a method"), format!("{base_url}{path}"));
        let mut request = request.header("sec-fetch-site", "same-origin").header("cookie", cookie);
        if let Some(form) = form {
            request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.expect("an answer")
    };
    assert_eq!(send("POST", "/login", "", Some("key=lh_wrong".to_owned()), None).await.status(), 401);
    let login = send("POST", "/login", "", Some(format!("key={key}")), None).await;
    assert_eq!(login.status(), 303);
    let cookie = login.headers()[SET_COOKIE].to_str().expect("ASCII").split(';').next().expect("a value").to_owned();
    let started = send("POST", "/api/backgroundtasks", &cookie, None, Some(json!({"Type": "Reindex"}))).await;
    assert_eq!(started.status(), 202);
    let id = started.json::<Value>().await.expect("JSON")["Id"].as_str().expect("an id").to_owned();
    until("the task to succeed", async || {
        let task: Value =
            send("GET", &format!("/api/backgroundtask/{id}"), &cookie, None, None).await.json().await.expect("JSON");
        (task["State"] == "Succeeded").then_some(())
    })
    .await;
    for page in ["/", "/tasks", &format!("/tasks/{id}"), "/queues", "/schedules", "/workers", "/api/audit"] {
        assert_eq!(send("GET", page, &cookie, None, None).await.status(), 200, "{page}");
    }
    assert_eq!(send("POST", "/queues/default", &cookie, Some("deed=pause".to_owned()), None).await.status(), 303);
    assert_eq!(send("POST", "/logout", &cookie, Some(String::new()), None).await.status(), 303);
    assert_eq!(send("GET", "/api/session", &cookie, None, None).await.status(), 401);
    let deeds: Vec<String> =
        sqlx::query_scalar("SELECT deed FROM longhaul.audit WHERE who <> 'anonymous' ORDER BY number")
            .fetch_all(&stage.pool)
            .await
            .expect("the audit");
    assert_eq!(deeds, ["createKey", "logIn", "startTask", "changeQueue", "logOut"]);

    // People's commands go straight to the database as the API does.
    for arguments in [&["task", "list"][..], &["queue", "list"], &["schedule", "list"], &["worker", "list"]] {
        good(arguments, &logins.api).await;
    }
    good(&["key", "revoke", "ops"], &logins.owner).await;
    assert_eq!(worker.terminate().await, Some(0));
    assert_eq!(api.terminate().await, Some(0));
}

#[tokio::test]
async fn under_the_login_of_another_role_a_process_is_refused_by_the_database() {
    let stage = Stage::new().await;
    let logins = stage.logins();
    good(&["roles", "--apply"], stage.database_url()).await;
    let create = ["key", "create", "--name", "x", "--permission", "*"];
    for (arguments, url) in [
        (&["import", SAMPLE][..], &logins.api),
        (&["import", SAMPLE], &logins.reader),
        (&create, &logins.api),
        (&create, &logins.worker),
        (&["key", "revoke", "x"], &logins.worker),
        (&["queue", "pause", "default"], &logins.worker),
        (&["work"], &logins.reader),
    ] {
        let (code, _, error) = run(arguments, url).await;
        assert!(code == Some(1) && error.contains("permission denied"), "{arguments:?}: {code:?} {error}");
    }
}
