//! What the API answers to access tokens.

use std::sync::Arc;

use longhaul_api::Authenticators;
use longhaul_api::oauth::{Patience, Rules, Tokens};
use longhaul_tests::{Stage, shipped};
use serde_json::{Value, json};

use super::issuer::{Issuer, Pen, header};

async fn stage(issuer: &Issuer) -> Stage {
    let mut settings = issuer.settings();
    settings.rules = Rules {
        rules: vec!["scope:tasks=Administration/Queues/View".parse().expect("a rule")],
        permissions_claim: None,
    };
    settings.patience = Patience { ask_every: std::time::Duration::ZERO, ..Patience::default() };
    let server = longhaul_api::oauth::ResourceServer::new(settings).expect("a resource server");
    let tokens = Tokens::new(Arc::new(server));
    Stage::builder(shipped::registry()).authenticators(move |_| Authenticators::default().with(tokens)).start().await
}

async fn now(stage: &Stage) -> i64 {
    stage.value("SELECT extract(epoch FROM now())::bigint").await
}

async fn queues(stage: &Stage, token: &str) -> (u16, String, Value) {
    let request = stage.http.get(format!("{}/api/queues", stage.base_url)).bearer_auth(token);
    let response = request.send().await.expect("an answer");
    let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().expect("ASCII").to_owned());
    (response.status().as_u16(), challenge.unwrap_or_default(), response.json().await.expect("JSON"))
}

#[tokio::test]
async fn a_token_opens_what_its_scopes_permit_and_an_expired_one_nothing() {
    let pen = Pen::p256();
    let issuer = Issuer::of(&[pen.jwk("k")]).await;
    let stage = stage(&issuer).await;
    let now = now(&stage).await;
    let mut claims = issuer.claims();
    claims["exp"] = (now + 60).into();
    let good = pen.token(&header("ES256", "k"), &claims);
    let (status, _, body) = queues(&stage, &good).await;
    assert_eq!(status, 200, "{body}");
    claims["scope"] = "openid".into();
    let (status, _, body) = queues(&stage, &pen.token(&header("ES256", "k"), &claims)).await;
    assert_eq!((status, &body["code"]), (403, &json!("forbidden")));
    claims["exp"] = (now - 60).into();
    let (status, challenge, body) = queues(&stage, &pen.token(&header("ES256", "k"), &claims)).await;
    assert_eq!((status, &body["code"]), (401, &json!("wrong-credentials")));
    assert_eq!(
        challenge,
        "Bearer realm=\"longhaul\", error=\"invalid_token\", error_description=\"The token has expired.\""
    );
    let (status, challenge, _) = queues(&stage, "no.such.token").await;
    assert_eq!(status, 401);
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

#[tokio::test]
async fn while_the_issuer_is_away_tokens_are_answered_by_503_and_not_called_wrong() {
    let pen = Pen::p256();
    let issuer = Issuer::silent().await;
    let stage = stage(&issuer).await;
    let mut claims = issuer.claims();
    claims["exp"] = (now(&stage).await + 60).into();
    let token = pen.token(&header("ES256", "k"), &claims);
    let (status, challenge, body) = queues(&stage, &token).await;
    assert_eq!((status, challenge.as_str(), &body["code"]), (503, "", &json!("unavailable")));
    issuer.answers(&[pen.jwk("k")]).await;
    assert_eq!(queues(&stage, &token).await.0, 200);
}
