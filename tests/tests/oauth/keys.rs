//! Where keys come from: rotation, and an issuer that does not answer.

use longhaul_api::oauth::{OauthSettings, Patience, Refusal, ResourceServer};
use longhaul_tests::until;
use serde_json::json;
use std::time::Duration;
use wiremock::ResponseTemplate;

use super::issuer::{Issuer, NOW, Pen, header};

#[tokio::test]
async fn a_new_key_is_found_when_a_token_names_it_and_a_withdrawn_one_is_forgotten() {
    let (old, new) = (Pen::p256(), Pen::p256());
    let issuer = Issuer::of(&[old.jwk("old")]).await;
    let server = issuer.resource_server();
    let of_old = old.token(&header("ES256", "old"), &issuer.claims());
    let of_new = new.token(&header("ES256", "new"), &issuer.claims());
    server.check(&of_old, NOW).await.expect("the first key");
    assert!(matches!(server.check(&of_new, NOW).await, Err(Refusal::Invalid(_))), "not there yet");
    issuer.answers(&[new.jwk("new")]).await;
    server.check(&of_new, NOW).await.expect("the keys were read anew");
    assert!(matches!(server.check(&of_old, NOW).await, Err(Refusal::Invalid(_))), "it was withdrawn");
}

#[tokio::test]
async fn a_withdrawn_key_is_forgotten_even_if_no_token_names_another() {
    let (old, new) = (Pen::ed(), Pen::ed());
    let issuer = Issuer::of(&[old.jwk("old")]).await;
    let patience = Patience { refresh_after: Duration::ZERO, ..issuer.settings().patience };
    let server = ResourceServer::new(OauthSettings { patience, ..issuer.settings() }).expect("a resource server");
    let token = old.token(&header("EdDSA", "old"), &issuer.claims());
    server.check(&token, NOW).await.expect("its key is there");
    issuer.answers(&[new.jwk("new")]).await;
    until("the key to be forgotten", async || server.check(&token, NOW).await.is_err().then_some(())).await;
}

#[tokio::test]
async fn tokens_that_name_made_up_keys_do_not_make_the_server_flood_its_issuer() {
    let pen = Pen::p256();
    let issuer = Issuer::of(&[pen.jwk("k")]).await;
    let patience = Patience::default();
    let server = ResourceServer::new(OauthSettings { patience, ..issuer.settings() }).expect("a resource server");
    server.check(&pen.token(&header("ES256", "k"), &issuer.claims()), NOW).await.expect("it is good");
    let made_up: Vec<String> =
        (0..200).map(|n| pen.token(&header("ES256", &format!("x{n}")), &issuer.claims())).collect();
    let checks = made_up.iter().map(|token| server.check(token, NOW));
    for result in futures_util::future::join_all(checks).await {
        assert!(matches!(result, Err(Refusal::Invalid(_))), "{result:?}");
    }
    assert!(issuer.asked().await <= 2, "{} questions for 200 keys", issuer.asked().await);
}

#[tokio::test]
async fn while_the_issuer_is_away_known_keys_go_on_and_others_can_t_be_judged() {
    let (known, other) = (Pen::p256(), Pen::p256());
    let issuer = Issuer::of(&[known.jwk("known")]).await;
    let patience =
        Patience { trust_for: Duration::from_secs(3600), refresh_after: Duration::ZERO, ..issuer.settings().patience };
    let server = ResourceServer::new(OauthSettings { patience, ..issuer.settings() }).expect("a resource server");
    let good = known.token(&header("ES256", "known"), &issuer.claims());
    let unknown = other.token(&header("ES256", "other"), &issuer.claims());
    server.check(&good, NOW).await.expect("it is good");
    issuer.fails().await;
    server.check(&good, NOW).await.expect("its key is known");
    assert!(matches!(server.check(&unknown, NOW).await, Err(Refusal::Unknowable(_))), "it may be a new key");
    server.check(&good, NOW).await.expect("still");
    issuer.answers(&[known.jwk("known"), other.jwk("other")]).await;
    server.check(&unknown, NOW).await.expect("the issuer is back");
}

#[tokio::test]
async fn keys_are_not_trusted_for_ever_while_the_issuer_is_away() {
    let pen = Pen::p256();
    let issuer = Issuer::of(&[pen.jwk("k")]).await;
    let patience = Patience { trust_for: Duration::ZERO, ..issuer.settings().patience };
    let server = ResourceServer::new(OauthSettings { patience, ..issuer.settings() }).expect("a resource server");
    let token = pen.token(&header("ES256", "k"), &issuer.claims());
    server.check(&token, NOW).await.expect("its key was read this moment");
    issuer.fails().await;
    assert!(matches!(server.check(&token, NOW).await, Err(Refusal::Unknowable(_))));
}

#[tokio::test]
async fn an_issuer_whose_documents_are_no_good_can_t_vouch_for_anyone() {
    let pen = Pen::p256();
    let issuer = Issuer::silent().await;
    let server = issuer.resource_server();
    let token = pen.token(&header("ES256", "k"), &issuer.claims());
    let discovery = "/.well-known/openid-configuration";
    let elsewhere = json!({"issuer": issuer.name, "jwks_uri": "http://keys.example/keys"});
    let huge = json!({"issuer": issuer.name, "jwks_uri": format!("{}/keys", issuer.name), "more": "x".repeat(600_000)});
    let leads_on = ResponseTemplate::new(302).insert_header("location", format!("{}/real", issuer.name).as_str());
    let documents = [
        ("an unknown address", ResponseTemplate::new(404)),
        ("no JSON", ResponseTemplate::new(200).set_body_string("<html>")),
        ("keys over plain http", ResponseTemplate::new(200).set_body_json(elsewhere)),
        ("too large", ResponseTemplate::new(200).set_body_json(huge)),
        ("another address", leads_on),
    ];
    for (what, document) in documents {
        issuer.server.reset().await;
        issuer.serves(discovery, document).await;
        issuer.serves("/keys", ResponseTemplate::new(200).set_body_json(json!({"keys": [pen.jwk("k")]}))).await;
        assert!(matches!(server.check(&token, NOW).await, Err(Refusal::Unknowable(_))), "{what}");
        assert!(server.issuer().refresh().await.is_err(), "{what}");
    }
    issuer.server.reset().await;
    issuer.answers_as("https://other.example", &[pen.jwk("k")]).await;
    assert!(matches!(server.check(&token, NOW).await, Err(Refusal::Unknowable(_))), "another issuer");
    issuer.answers(&[pen.jwk("k")]).await;
    server.check(&token, NOW).await.expect("now they are good");
}

#[tokio::test]
async fn keys_that_are_not_for_this_are_left_out() {
    let (rsa, p256) = (Pen::rsa(), Pen::p256());
    let mut for_encryption = rsa.jwk("enc");
    for_encryption["use"] = "enc".into();
    let mut for_signing_only = p256.jwk("ops");
    for_signing_only["key_ops"] = json!(["sign"]);
    let mut other_algorithm = rsa.jwk("alg");
    other_algorithm["alg"] = "PS256".into();
    let odd = json!({"kty": "oct", "k": "c2VjcmV0", "kid": "oct"});
    let issuer =
        Issuer::of(&[json!({"kty": "new"}), json!(7), odd, for_encryption, for_signing_only, other_algorithm]).await;
    let server = issuer.resource_server();
    for (pen, algorithm, key) in [(&rsa, "RS256", "enc"), (&p256, "ES256", "ops"), (&rsa, "RS256", "alg")] {
        let token = pen.token(&header(algorithm, key), &issuer.claims());
        assert!(matches!(server.check(&token, NOW).await, Err(Refusal::Invalid(_))), "{key}");
    }
    server.check(&rsa.token(&header("PS256", "alg"), &issuer.claims()), NOW).await.expect("as its key says");
}
