//! Access tokens and logins of a certified OpenID provider (`tests/oidc/run`), which
//! this test starts on loopback.

mod login;
mod provider;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use longhaul_api::Authenticators;
use longhaul_api::oauth::{ALGORITHMS, OauthSettings, Patience, ResourceServer, Rules, Tokens};
use longhaul_tests::{Stage, shipped, until};
use provider::{Provider, keys};
use ring::hmac;
use serde_json::{Value, json};

const AUDIENCE: &str = "https://longhaul.example";

fn settings(issuer: &str, rules: &[&str]) -> OauthSettings {
    OauthSettings {
        issuer: issuer.to_owned(),
        audiences: vec![AUDIENCE.to_owned()],
        algorithms: ALGORITHMS.to_vec(),
        clock_skew: Duration::from_secs(30),
        typed: true,
        rules: Rules { rules: rules.iter().map(|rule| rule.parse().expect(rule)).collect(), permissions_claim: None },
        patience: Patience { ask_every: Duration::ZERO, ..Patience::default() },
    }
}

async fn stage(issuer: &str) -> Stage {
    let server = ResourceServer::new(settings(issuer, &["scope:tasks.read=Administration/Queues/View"]));
    let tokens = Tokens::new(Arc::new(server.expect("a resource server")));
    Stage::builder(shipped::registry()).authenticators(move |_| Authenticators::default().with(tokens)).start().await
}

/// Status and challenge of the API's answer to a token.
async fn answer(stage: &Stage, token: &str) -> (u16, String) {
    let request = stage.http.get(format!("{}/api/queues", stage.base_url)).bearer_auth(token);
    let response = request.send().await.expect("an answer");
    let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().expect("ASCII").to_owned());
    (response.status().as_u16(), challenge.unwrap_or_default())
}

fn encode(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

fn decode(part: &str) -> Value {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

/// Refused as RFC 6750 says, with this reason.
async fn refused(stage: &Stage, what: &str, token: &str, reason: &str) {
    let (status, challenge) = answer(stage, token).await;
    assert_eq!(status, 401, "{what}");
    assert!(challenge.contains("error=\"invalid_token\""), "{what}: {challenge}");
    assert!(challenge.contains(&format!("error_description=\"{reason}\"")), "{what}: {challenge}");
}

#[tokio::test]
async fn tokens_of_a_certified_provider_are_taken_and_flawed_ones_refused() {
    for algorithm in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let keys = keys(algorithm, "first").await;
        let provider = Provider::start(&json!({"port": 0, "keys": keys})).await;
        let stage = stage(&provider.issuer()).await;
        let good = provider.token("tasks.read", AUDIENCE).await;
        assert_eq!(decode(good.split('.').next().expect("a header"))["alg"], algorithm);
        assert_eq!(answer(&stage, &good).await, (200, String::new()), "{algorithm}");
        if algorithm != "RS256" {
            continue;
        }
        let flawed = |scope: &'static str| provider.token(scope, AUDIENCE);
        refused(&stage, "expired", &flawed("flaw.expired").await, "The token has expired.").await;
        refused(&stage, "not yet valid", &flawed("flaw.early").await, "The token is not valid yet.").await;
        let typ = "The token is not an access token: its typ is not at+jwt.";
        refused(&stage, "wrong typ", &flawed("flaw.untyped").await, typ).await;
        let other = provider.token("tasks.read", "https://other.example").await;
        refused(&stage, "wrong audience", &other, "The token is for another audience.").await;

        // Another provider with the same keys, and one of the same name with others.
        let elsewhere = Provider::start(&json!({"port": 0, "keys": keys})).await;
        let token = elsewhere.token("tasks.read", AUDIENCE).await;
        refused(&stage, "wrong issuer", &token, "The token comes from another issuer.").await;
        let strange = json!({"port": 0, "issuer": provider.issuer(), "keys": self::keys("RS256", "strange").await});
        let token = Provider::start(&strange).await.token("tasks.read", AUDIENCE).await;
        refused(&stage, "unknown key", &token, "The issuer has no such key.").await;
        let pretender = json!({"port": 0, "issuer": provider.issuer(), "keys": self::keys("RS256", "first").await});
        let token = Provider::start(&pretender).await.token("tasks.read", AUDIENCE).await;
        refused(&stage, "another key of that name", &token, "The token's signature is wrong.").await;

        let parts: Vec<&str> = good.split('.').collect();
        let mut claims = decode(parts[1]);
        claims["scope"] = "tasks.read flaw.expired".into();
        let tampered = format!("{}.{}.{}", parts[0], encode(&claims), parts[2]);
        refused(&stage, "tampered payload", &tampered, "The token's signature is wrong.").await;
        let not_taken = "The signature algorithm of the token is not accepted.";
        let unreadable = "The token is not a JWT with an accepted signature.";
        let none = format!("{}.{}.", encode(&json!({"alg": "none", "typ": "at+jwt", "kid": "first"})), parts[1]);
        refused(&stage, "alg none", &none, unreadable).await;
        let public = provider.public_key_pem().await;
        let message = format!("{}.{}", encode(&json!({"alg": "HS256", "typ": "at+jwt", "kid": "first"})), parts[1]);
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public.as_bytes()), message.as_bytes());
        let symmetric = format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
        refused(&stage, "HS256 with the public key", &symmetric, not_taken).await;
    }
}

#[tokio::test]
async fn a_provider_that_rotates_its_keys_and_is_away_for_a_moment_is_followed() {
    let mut provider = Provider::start(&json!({"port": 0, "keys": keys("ES256", "first").await})).await;
    let (issuer, port) = (provider.issuer(), provider.port);
    let stage = stage(&issuer).await;
    let old = provider.token("tasks.read", AUDIENCE).await;
    assert_eq!(answer(&stage, &old).await.0, 200);
    provider.stop().await;
    assert_eq!(answer(&stage, &old).await.0, 200, "its key is known");
    let settings = json!({"port": port, "keys": keys("ES256", "second").await});
    let elsewhere = Provider::start(&json!({"port": 0, "issuer": issuer, "keys": settings["keys"]})).await;
    let new = elsewhere.token("tasks.read", AUDIENCE).await;
    let (status, challenge) = answer(&stage, &new).await;
    assert_eq!((status, challenge.as_str()), (503, ""), "whether it is good can't be known");
    let provider = Provider::start(&settings).await;
    until("the new key to be known", async || (answer(&stage, &new).await.0 == 200).then_some(())).await;
    refused(&stage, "the key was withdrawn", &old, "The issuer has no such key.").await;
    assert_eq!(answer(&stage, &provider.token("tasks.read", AUDIENCE).await).await.0, 200);
}
