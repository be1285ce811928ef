//! Login at an OpenID provider: there and back, and ways to go wrong.

use std::num::NonZeroU32;
use std::sync::Arc;

use longhaul_api::access::keys::REVOKED_WITHIN;
use longhaul_api::oauth::{ResourceServer, Rules};
use longhaul_api::session::{Login, Provider, ProviderSettings, SessionSettings};
use longhaul_api::{Authenticators, Rate};
use longhaul_tests::{Lateness, Stage, end_of, shipped};
use reqwest::Url;
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use super::issuer::{Issuer, Pen};
use super::login::{Browser, location};

struct Scene {
    stage: Stage,
    issuer: Issuer,
    pen: Pen,
    now: i64,
}

impl Scene {
    async fn new() -> Self {
        Self::limited(None).await
    }

    async fn limited(rate: Option<Rate>) -> Self {
        let pen = Pen::p256();
        let issuer = Issuer::of(&[pen.jwk("k")]).await;
        let mut settings = issuer.settings();
        settings.rules = Rules {
            rules: vec!["claim:groups:ops=Administration/*".parse().expect("a rule")],
            permissions_claim: None,
        };
        let server = Arc::new(ResourceServer::new(settings).expect("a resource server"));
        let client = ProviderSettings {
            client_id: "long haul".to_owned(),
            client_secret: Some("s:e&c".to_owned()),
            scopes: "profile".to_owned(),
        };
        let provider = Provider::new(Arc::clone(&server), client);
        let login =
            move |pool: &sqlx::PgPool| Login::new(pool.clone(), SessionSettings::default(), None, Some(provider));
        let tokens = longhaul_api::oauth::Tokens::new(server);
        let stage = Stage::builder(shipped::registry())
            .authenticators(move |_| Authenticators::default().with(tokens))
            .login(login)
            .api(move |settings| settings.limits.rate = rate)
            .start()
            .await;
        let now = stage.value("SELECT extract(epoch FROM now())::bigint").await;
        Self { stage, issuer, pen, now }
    }

    /// A browser at the provider, and what it was sent there with.
    async fn at_provider(&self) -> (Browser, Url) {
        let mut browser = Browser::at(&self.stage);
        let response = browser.get("/login/oidc?return=%2Fdashboard%2Ftasks").await;
        assert_eq!(response.status(), 303);
        browser.keeps(&response, "longhaul-login");
        let address = Url::parse(location(&response)).expect("an address");
        (browser, address)
    }

    /// From now on the provider answers codes with an ID token of these claims.
    async fn vouches(&self, claims: &Value) {
        let token = self.pen.token(&json!({"alg": "ES256", "kid": "k"}), claims);
        self.token_endpoint(
            ResponseTemplate::new(200)
                .set_body_json(json!({"id_token": token, "token_type": "Bearer", "access_token": "x"})),
        )
        .await;
    }

    async fn change(&self, sql: &'static str) {
        sqlx::query(sql).execute(&self.stage.pool).await.expect(sql);
    }

    async fn token_endpoint(&self, answer: ResponseTemplate) {
        self.issuer.server.reset().await;
        self.issuer.answers_as(&self.issuer.name, &[self.pen.jwk("k")]).await;
        self.issuer.serves("/token", answer).await;
    }

    fn claims(&self, nonce: &str) -> Value {
        json!({"iss": self.issuer.name, "aud": "long haul", "sub": "4711", "preferred_username": "ann", "nonce": nonce,
               "exp": self.now + 60, "iat": self.now, "groups": ["ops"]})
    }
}

fn asked(address: &Url, name: &str) -> String {
    address.query_pairs().find(|(found, _)| found == name).expect(name).1.into_owned()
}

#[tokio::test]
async fn someone_who_logs_in_at_the_provider_has_a_session_with_what_their_claims_permit() {
    let scene = Scene::new().await;
    let (mut browser, address) = scene.at_provider().await;
    assert!(address.as_str().starts_with(&format!("{}/authorize?", scene.issuer.name)), "{address}");
    assert_eq!(asked(&address, "response_type"), "code");
    assert_eq!(asked(&address, "scope"), "openid profile");
    assert_eq!(asked(&address, "code_challenge_method"), "S256");
    assert_eq!(asked(&address, "redirect_uri"), format!("{}/login/callback", scene.stage.base_url));
    scene.vouches(&scene.claims(&asked(&address, "nonce"))).await;
    let back = format!("/login/callback?code=c0de&state={}", asked(&address, "state"));
    let response = browser.get(&back).await;
    assert_eq!((response.status().as_u16(), location(&response)), (303, "/dashboard/tasks"));
    browser.keeps(&response, "longhaul");
    let (status, session) = browser.session().await;
    assert_eq!((status, session["Name"].as_str()), (200, Some("ann")));
    assert_eq!(session["Subject"], format!("{}|4711", scene.issuer.name));
    assert_eq!(browser.get("/api/queues").await.status(), 200);

    // What the provider was asked: the code with the secret that fits the challenge.
    let requests = scene.issuer.server.received_requests().await.expect("they are recorded");
    let request = requests.iter().find(|request| request.url.path() == "/token").expect("it was asked");
    assert_eq!(request.headers["authorization"], "Basic bG9uZytoYXVsOnMlM0FlJTI2Yw==", "long+haul:s%3Ae%26c");
    let form = Url::parse(&format!("x:?{}", String::from_utf8_lossy(&request.body))).expect("a form");
    assert_eq!(
        (asked(&form, "code"), asked(&form, "grant_type")),
        ("c0de".to_owned(), "authorization_code".to_owned())
    );
    let hash = ring::digest::digest(&ring::digest::SHA256, asked(&form, "code_verifier").as_bytes());
    assert_eq!(super::issuer::encode(hash), asked(&address, "code_challenge"));
}

#[tokio::test]
async fn answers_that_do_not_belong_to_the_login_open_nothing() {
    let scene = Scene::new().await;
    let (browser, address) = scene.at_provider().await;
    let (other, _) = scene.at_provider().await;
    let (state, nonce) = (asked(&address, "state"), asked(&address, "nonce"));
    scene.vouches(&scene.claims(&nonce)).await;
    let good = format!("/login/callback?code=c&state={state}");
    let cases = [
        ("another browser", &other, good.clone()),
        ("no cookie", &Browser::at(&scene.stage), good.clone()),
        ("no state", &browser, "/login/callback?code=c".to_owned()),
        ("another state", &browser, "/login/callback?code=c&state=AAAA".to_owned()),
        ("no code", &browser, format!("/login/callback?state={state}")),
        ("refused by the provider", &browser, format!("/login/callback?error=access_denied&state={state}")),
        ("another provider", &browser, format!("{good}&iss=https%3A%2F%2Fevil.example")),
    ];
    for (what, browser, path) in cases {
        let response = browser.get(&path).await;
        assert_eq!(response.status(), 401, "{what}");
        assert!(response.text().await.expect("text").contains("role=\"alert\""), "{what}");
    }
    let claims = |name: &str, value: Value| {
        let mut claims = scene.claims(&nonce);
        claims[name] = value;
        claims
    };
    for wrong in [
        claims("nonce", json!("another")),
        claims("aud", json!("another")),
        claims("azp", json!("another")),
        claims("iss", json!("https://evil.example")),
        claims("exp", json!(scene.now - 600)),
    ] {
        scene.vouches(&wrong).await;
        assert_eq!(browser.get(&good).await.status(), 401, "{wrong}");
    }
    for (answer, status) in [
        (ResponseTemplate::new(400).set_body_json(json!({"error": "invalid_grant"})), 401),
        (ResponseTemplate::new(200).set_body_string("<html>"), 401),
        (ResponseTemplate::new(500), 503),
    ] {
        scene.token_endpoint(answer).await;
        assert_eq!(browser.get(&good).await.status(), status);
    }
    scene.vouches(&scene.claims(&nonce)).await;
    assert_eq!(browser.get(&good).await.status(), 303, "now it is right");
    let sessions: i64 = scene.stage.value("SELECT count(*) FROM longhaul.session").await;
    assert_eq!(sessions, 1);
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_told_on_the_page() {
    let scene = Scene::new().await;
    scene.issuer.fails().await;
    let response = Browser::at(&scene.stage).get("/login/oidc").await;
    assert_eq!(response.status(), 503);
    assert!(response.text().await.expect("text").contains("is not available"));
}

#[tokio::test]
async fn ways_back_that_nobody_went_out_fill_the_audit_no_faster_than_one_may_guess() {
    let many = NonZeroU32::new(1000).expect("many");
    let scene = Scene::limited(Some(Rate { per_second: many, burst: many })).await;
    let browser = Browser::at(&scene.stage);
    let mut answers = Vec::new();
    for number in 0..120 {
        answers.push(browser.get(&format!("/login/callback?code=x&state={number}")).await.status().as_u16());
    }
    assert!(answers.contains(&429), "{answers:?}");
    let heard = answers.iter().filter(|status| **status == 401).count();
    let refused: i64 = scene.stage.value("SELECT count(*) FROM longhaul.audit WHERE deed = 'refuseLogIn'").await;
    assert_eq!(refused, i64::try_from(heard).expect("a few"));
    assert!(heard < 100, "{heard} of 120 were written down");
}

#[tokio::test]
async fn a_stream_by_a_session_of_the_provider_ends_with_the_session() {
    let scene = Scene::new().await;
    let task: String = scene.stage.value("SELECT longhaul.enqueue('Reindex')").await;
    for (what, query) in [("logout", ""), ("logout", "?log=true"), ("expiry", "?log=true"), ("a pause", "")] {
        let (mut browser, address) = scene.at_provider().await;
        scene.vouches(&scene.claims(&asked(&address, "nonce"))).await;
        let back = format!("/login/callback?code=c0de&state={}", asked(&address, "state"));
        browser.keeps(&browser.get(&back).await, "longhaul");
        let path = format!("/api/backgroundtask/{task}/events{query}");
        let mut stream = browser.send(reqwest::Method::GET, &path, &[], "").await;
        assert_eq!(stream.status(), 200);
        assert!(stream.chunk().await.expect("a first state").is_some());
        // That the provider is away is no matter of a session.
        scene.issuer.fails().await;
        match what {
            "logout" => assert_eq!(browser.form("/logout", "").await.status(), 303),
            "expiry" => scene.change("UPDATE longhaul.session SET expires_at = now()").await,
            _ => scene.change("UPDATE longhaul.session SET used_at = now() - interval '61 minutes'").await,
        }
        let lateness = Lateness::measured(&scene.stage);
        let (took, late) = (end_of(stream).await, lateness.most().await);
        assert!(took < REVOKED_WITHIN + 3 * late, "{what} {query}: {took:?}, and the machine was {late:?} late");
    }
}
