//! API keys.

use std::time::Duration;

use chrono::DateTime;
use longhaul_api::access::secret::{Hasher, Secret};
use longhaul_model::store::api_key::{self, NewApiKey};
use longhaul_tests::{SERVER_SECRET, Stage, keys_only, make_key, shipped, until};
use reqwest::StatusCode;
use serde_json::Value;

async fn stage() -> Stage {
    Stage::builder(shipped::registry()).authenticators(keys_only).start().await
}

async fn make(stage: &Stage, name: &str, permissions: &[&str], server_secret: Option<&str>) -> Secret {
    make_key(&stage.pool, name, permissions, None, server_secret).await
}

async fn queues(stage: &Stage, token: &str) -> (StatusCode, Value) {
    let request = stage.http.get(format!("{}/api/queues", stage.base_url)).bearer_auth(token);
    let response = request.send().await.expect("an answer");
    (response.status(), response.json().await.expect("JSON"))
}

#[tokio::test]
async fn a_key_opens_as_a_bearer_token_and_as_a_password() {
    let stage = stage().await;
    let secret = make(&stage, "ci", &["Administration/Queues/View"], Some(SERVER_SECRET)).await;
    let (status, body) = queues(&stage, secret.expose()).await;
    assert_eq!(status, 200, "{body}");
    let request = stage.http.get(format!("{}/api/queues", stage.base_url));
    let response = request.basic_auth("whoever", Some(secret.expose())).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let (status, body) = queues(&stage, make(&stage, "weak", &[], Some(SERVER_SECRET)).await.expose()).await;
    assert_eq!((status.as_u16(), body["code"].as_str()), (403, Some("forbidden")));
    let used: Option<String> = stage.value("SELECT string_agg(name, ' ' ORDER BY name) FROM longhaul.api_keys WHERE last_used_at > now() - interval '1 minute'").await;
    assert_eq!(used.as_deref(), Some("ci weak"));
}

#[tokio::test]
async fn wrong_keys_are_all_refused_in_the_same_words() {
    let stage = stage().await;
    let right = make(&stage, "right", &["*"], Some(SERVER_SECRET)).await;
    let mut sorts = vec![
        ("nobody's", Secret::generate().expect("randomness").expose().to_owned()),
        (
            "of another server",
            make(&stage, "other", &["*"], Some("a secret that this server has not")).await.expose().to_owned(),
        ),
        ("not keyed", make(&stage, "bare", &["*"], None).await.expose().to_owned()),
        ("a slip", format!("{}x", &right.expose()[..right.expose().len() - 1])),
        ("short", "lh_".to_owned()),
    ];
    let expired = make(&stage, "expired", &["*"], Some(SERVER_SECRET)).await;
    sqlx::query("UPDATE longhaul.api_key SET expires_at = now() WHERE name = 'expired'")
        .execute(&stage.pool)
        .await
        .expect("set");
    sorts.push(("expired", expired.expose().to_owned()));
    let revoked = make(&stage, "revoked", &["*"], Some(SERVER_SECRET)).await;
    api_key::revoke(&stage.pool, "revoked", None).await.expect("revoked");
    sorts.push(("revoked", revoked.expose().to_owned()));
    // Someone who can write to the database and knows no secret of the servers.
    let forged = Secret::generate().expect("randomness");
    let id = Hasher::new(Some(SERVER_SECRET)).id().expect("an id").to_owned();
    let hash = Hasher::new(None).hash(&forged);
    sqlx::query("INSERT INTO longhaul.api_key (prefix, name, hash, hashed_with, permissions, created_by) VALUES ($1, 'forged', $2, $3, '{*}', 'x')")
        .bind(forged.prefix()).bind(hash.as_slice()).bind(id).execute(&stage.pool).await.expect("stored");
    sorts.push(("forged", forged.expose().to_owned()));
    for (sort, token) in sorts {
        let (status, body) = queues(&stage, &token).await;
        assert_eq!((status.as_u16(), body["code"].as_str()), (401, Some("wrong-credentials")), "{sort}");
        let detail = body["detail"].as_str().expect("text");
        assert_eq!(detail, "The API key is not valid: it is unknown, expired or revoked.", "{sort}");
    }
    assert_eq!(queues(&stage, right.expose()).await.0, 200);
}

#[tokio::test]
async fn a_key_expires_on_time_although_it_is_remembered() {
    let stage = stage().await;
    let secret = make(&stage, "brief", &["*"], Some(SERVER_SECRET)).await;
    sqlx::query("UPDATE longhaul.api_key SET expires_at = now() + interval '1 second'")
        .execute(&stage.pool)
        .await
        .expect("set");
    let began = std::time::Instant::now();
    assert_eq!(queues(&stage, secret.expose()).await.0, 200);
    until("the key to expire", async || (queues(&stage, secret.expose()).await.0 == 401).then_some(())).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_name_is_taken_for_ever_unless_another_key_of_the_same_caller_is_meant() {
    let stage = stage().await;
    make(&stage, "ci", &["*"], None).await;
    api_key::revoke(&stage.pool, "ci", Some("me")).await.expect("revoked");
    let (secret, hasher) = (Secret::generate().expect("randomness"), Hasher::new(None));
    let hash = hasher.hash(&secret);
    let mut key = NewApiKey {
        prefix: secret.prefix(),
        name: "ci",
        hash: &hash,
        hashed_with: None,
        permissions: &[],
        projects: None,
        expires_at: Some(DateTime::UNIX_EPOCH),
        created_by: Some("me"),
        again: false,
    };
    assert!(!api_key::create(&stage.pool, &key).await.expect("asked"));
    key.again = true;
    assert!(api_key::create(&stage.pool, &key).await.expect("asked"));
    let listed = api_key::list(&stage.pool, true).await.expect("listed");
    let states: Vec<&str> = listed.iter().map(|key| key.state.as_str()).collect();
    assert_eq!(states, ["revoked", "expired"]);
    assert!(api_key::list(&stage.pool, false).await.expect("listed").is_empty());
}
