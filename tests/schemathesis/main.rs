//! Every route against schemathesis (`tests/schemathesis/run`): no internal error, and
//! nothing that the OpenAPI document does not say.

use std::process::Stdio;
use std::time::Duration;

use longhaul_api::Authenticators;
use longhaul_api::access::Keys;
use longhaul_api::access::secret::{Hasher, Secret};
use longhaul_api::session::{Login, SessionSettings};
use longhaul_model::store::api_key::{self, NewApiKey};
use longhaul_model::{Keyring, Resources};
use longhaul_test_management::trackers::{SecretKey, TrackerSettings, Trackers};
use longhaul_tests::{Stage, fill_project, quick_worker, shipped};
use longhaul_webhooks::{WebhookSettings, Webhooks};
use tokio::process::Command;

#[tokio::test]
async fn no_request_makes_an_internal_error() {
    let program = std::env::var("LONGHAUL_SCHEMATHESIS").expect("tests/schemathesis/run sets LONGHAUL_SCHEMATHESIS");
    let seconds = std::env::var("LONGHAUL_SCHEMATHESIS_SECONDS").unwrap_or_else(|_| "150".to_owned());
    let keys = |pool: &sqlx::PgPool| Keys::new(pool.clone(), None);
    let secret_key = SecretKey::parse(&"5a".repeat(32)).expect("a key");
    let settings = TrackerSettings {
        secret_key: Some(secret_key.clone()),
        deadline: Duration::from_secs(2),
        ..TrackerSettings::default()
    };
    // All that the shipped program has, or its absence would look like an internal error.
    let resources = Resources::new()
        .with(Keyring::new(secret_key, Vec::new()))
        .with(Trackers::new(settings).expect("a client"))
        .with(Webhooks::new(WebhookSettings::default()).expect("a client"));
    let stage = Stage::builder(shipped::registry())
        .resources(resources)
        .authenticators(move |pool| Authenticators::default().with(keys(pool)))
        .login(move |pool| Login::new(pool.clone(), SessionSettings::default(), Some(keys(pool)), None))
        .start()
        .await;
    fill_project(&stage.pool, uuid::uuid!("c651ed19-5375-475a-a539-9f6401467130"), 10).await;
    let _worker = stage.worker(quick_worker()).await;
    let secret = Secret::generate().expect("randomness");
    let key = NewApiKey {
        prefix: secret.prefix(),
        name: "fuzzer",
        hash: &Hasher::new(None).hash(&secret),
        hashed_with: None,
        permissions: &["*".to_owned()],
        projects: None,
        expires_at: None,
        created_by: None,
        again: false,
    };
    assert!(api_key::create(&stage.pool, &key).await.expect("stored"));
    let directory = tempfile::tempdir().expect("a directory");
    let document = directory.path().join("openapi.json");
    std::fs::write(&document, stage.openapi.to_string()).expect("written");
    let status = Command::new(program)
        .current_dir(directory.path())
        .env("SCHEMATHESIS_HOOKS", concat!(env!("CARGO_MANIFEST_DIR"), "/schemathesis/hooks.py"))
        .args(["run", "--url", &stage.base_url])
        .arg("--header")
        .arg(format!("Authorization: Bearer {}", secret.expose()))
        .args(["--checks", "no_internal_error,response_schema_conformance,content_type_conformance"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-time", &seconds, "--max-examples", "40"])
        .args(["--request-timeout", "10", "--workers", "2", "--continue-on-failure", "--no-shrink", "--no-color"])
        // A stream lasts until its task ends.
        .args(["--exclude-path-regex", "/events$|/logs?/stream$"])
        .arg(&document)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .expect("schemathesis runs");
    assert!(status.success(), "schemathesis complains, see above");
    let response = stage.http.get(format!("{}/health/ready", stage.base_url)).send().await.expect("an answer");
    assert_eq!(response.status(), 200, "the server is well");
}
