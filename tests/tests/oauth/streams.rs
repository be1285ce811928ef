//! Streams that an access token opened.

use std::sync::Arc;
use std::time::Duration;

use longhaul_api::Authenticators;
use longhaul_api::oauth::{OauthSettings, Patience, ResourceServer, Tokens};
use longhaul_tests::{Lateness, Stage, end_of, shipped};
use reqwest::Response;
use serde_json::Value;

use super::issuer::{Issuer, Pen, header};

struct Scene {
    stage: Stage,
    issuer: Issuer,
    pen: Pen,
    path: String,
}

impl Scene {
    /// A task that nobody runs, and an issuer whose keys are kept in this way.
    async fn new(patience: Patience) -> Self {
        let pen = Pen::p256();
        let issuer = Issuer::of(&[pen.jwk("k")]).await;
        let patience = Patience { ask_every: Duration::ZERO, ..patience };
        let settings = OauthSettings { patience, clock_skew: Duration::ZERO, ..issuer.settings() };
        let tokens = Tokens::new(Arc::new(ResourceServer::new(settings).expect("a resource server")));
        let authenticators = move |_: &sqlx::PgPool| Authenticators::default().with(tokens);
        let stage = Stage::builder(shipped::registry()).authenticators(authenticators).start().await;
        let task: String = stage.value("SELECT longhaul.enqueue('Reindex')").await;
        Self { stage, issuer, pen, path: format!("/api/backgroundtask/{task}/events") }
    }

    async fn now(&self) -> f64 {
        self.stage.value("SELECT extract(epoch FROM clock_timestamp())::float8").await
    }

    /// A stream by a token that ends at this time.
    async fn open(&self, query: &str, expires_at: f64) -> Response {
        let mut claims: Value = self.issuer.claims();
        claims["exp"] = expires_at.into();
        let token = self.pen.token(&header("ES256", "k"), &claims);
        let address = format!("{}{}{query}", self.stage.base_url, self.path);
        let mut stream = longhaul_tests::http_client()
            .build()
            .expect("a client")
            .get(address)
            .bearer_auth(token)
            .send()
            .await
            .expect("an answer");
        assert_eq!(stream.status(), 200);
        assert!(stream.chunk().await.expect("a first state").is_some());
        stream
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token_whatever_the_issuer_does() {
    // Keys are good for as long as they are read anew for each question.
    let scene = Scene::new(Patience { trust_for: Duration::ZERO, ..Patience::default() }).await;
    for (away, query) in [(false, ""), (false, "?log=true"), (true, ""), (true, "?log=true")] {
        scene.issuer.answers(&[scene.pen.jwk("k")]).await;
        let expires_at = scene.now().await.ceil() + 3.0;
        let stream = scene.open(query, expires_at).await;
        if away {
            scene.issuer.fails().await;
        }
        let lateness = Lateness::measured(&scene.stage);
        let took = end_of(stream).await;
        let after = scene.now().await - expires_at;
        let late = lateness.most().await;
        println!("issuer away: {away}, {query}: the stream ended {after:.3} s after its token, {late:?} late");
        assert!(after > -1.0, "what can't be known is no reason to end it: {took:?}, {after} s");
        assert!(after < 1.0 + 3.0 * late.as_secs_f64(), "issuer away: {away}, {query}: {after} s, {late:?} late");
    }
}

#[tokio::test]
async fn a_stream_ends_when_the_key_of_its_token_is_withdrawn() {
    let scene = Scene::new(Patience { refresh_after: Duration::ZERO, ..Patience::default() }).await;
    let expires_at = scene.now().await.ceil() + 3600.0;
    let stream = scene.open("?log=true", expires_at).await;
    scene.issuer.answers(&[Pen::p256().jwk("another")]).await;
    end_of(stream).await;
}
