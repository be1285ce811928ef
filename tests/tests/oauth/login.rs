//! Sessions of people with a browser: login by API key, and what a cookie may do.

use longhaul_api::Authenticators;
use longhaul_api::access::Keys;
use longhaul_api::access::secret::{Hasher, Secret};
use longhaul_api::session::{Login, SessionSettings};
use longhaul_model::store::api_key::{self, NewApiKey};
use longhaul_tests::{Stage, shipped};
use reqwest::header::{HeaderMap, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response};
use serde_json::Value;

/// A browser that shows what it is told, with its one cookie.
pub(crate) struct Browser {
    client: Client,
    base_url: String,
    pub(crate) cookie: Option<String>,
}

impl Browser {
    pub(crate) fn at(stage: &Stage) -> Self {
        let client = longhaul_tests::http_client().redirect(Policy::none()).build().expect("a client");
        Self { client, base_url: stage.base_url.clone(), cookie: None }
    }

    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.base_url)).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        request.send().await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, &[("accept", "text/html")], "").await
    }

    /// Sends a form as a page of ours would.
    pub(crate) async fn form(&self, path: &str, body: &str) -> Response {
        let form = ("content-type", "application/x-www-form-urlencoded");
        self.send(Method::POST, path, &[form, ("origin", &self.base_url), ("sec-fetch-site", "same-origin")], body)
            .await
    }

    /// The cookie of an answer, which it shows from now on.
    pub(crate) fn keeps(&mut self, response: &Response, name: &str) {
        let found = set_cookies(response.headers()).into_iter().find(|cookie| cookie.starts_with(&format!("{name}=")));
        let cookie = found.expect("the cookie is set");
        assert!(
            cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Lax") && cookie.contains("; Path=/"),
            "{cookie}"
        );
        self.cookie = Some(cookie.split(';').next().expect("its value").to_owned());
    }

    pub(crate) async fn session(&self) -> (u16, Value) {
        let response = self.send(Method::GET, "/api/session", &[], "").await;
        (response.status().as_u16(), response.json().await.expect("JSON"))
    }
}

fn set_cookies(headers: &HeaderMap) -> Vec<String> {
    headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().expect("ASCII").to_owned()).collect()
}

pub(crate) fn location(response: &Response) -> &str {
    response.headers().get(LOCATION).expect("a Location").to_str().expect("ASCII")
}

async fn stage() -> (Stage, Secret) {
    let login = |pool: &sqlx::PgPool| {
        Login::new(pool.clone(), SessionSettings::default(), Some(Keys::new(pool.clone(), None)), None)
    };
    let keys = |pool: &sqlx::PgPool| Authenticators::default().with(Keys::new(pool.clone(), None));
    let stage = Stage::builder(shipped::registry()).authenticators(keys).login(login).start().await;
    let secret = Secret::generate().expect("randomness");
    let key = NewApiKey {
        prefix: secret.prefix(),
        name: "ops",
        hash: &Hasher::new(None).hash(&secret),
        hashed_with: None,
        permissions: &["Administration/*".to_owned()],
        projects: None,
        expires_at: None,
        created_by: None,
        again: false,
    };
    assert!(api_key::create(&stage.pool, &key).await.expect("stored"));
    (stage, secret)
}

async fn logged_in() -> (Stage, Browser, Secret) {
    let (stage, secret) = stage().await;
    let mut browser = Browser::at(&stage);
    let response = browser.form("/login", &format!("key={}", secret.expose())).await;
    assert_eq!((response.status().as_u16(), location(&response)), (303, "/"));
    browser.keeps(&response, "longhaul");
    (stage, browser, secret)
}

#[tokio::test]
async fn a_key_opens_a_session_that_ends_with_the_logout() {
    let (stage, secret) = stage().await;
    let mut browser = Browser::at(&stage);
    let page = browser.get("/login?return=%2Fdashboard%2Ftasks").await;
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().expect("ASCII").to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    for (name, value) in
        [("x-content-type-options", "nosniff"), ("x-frame-options", "DENY"), ("cache-control", "no-store")]
    {
        assert_eq!(page.headers()[name], value);
    }
    let html = page.text().await.expect("text");
    assert!(html.contains("action=\"/login?return=%2Fdashboard%2Ftasks\"") && !html.contains("<script"), "{html}");
    assert_eq!(browser.get("/login/style.css").await.status(), 200);

    let response = browser.form("/login?return=%2Fdashboard%2Ftasks", &format!("key={}", secret.expose())).await;
    assert_eq!((response.status().as_u16(), location(&response)), (303, "/dashboard/tasks"));
    browser.keeps(&response, "longhaul");
    assert_eq!(browser.send(Method::GET, "/api/queues", &[], "").await.status(), 200);
    let (status, session) = browser.session().await;
    assert_eq!((status, session["Name"].as_str()), (200, Some("ops")));
    let stored: i64 = stage.value("SELECT count(*) FROM longhaul.session WHERE subject = 'key:ops'").await;
    assert_eq!(stored, 1);

    assert_eq!(browser.send(Method::POST, "/logout", &[("origin", "https://evil.example")], "").await.status(), 403);
    let response = browser.form("/logout", "").await;
    assert_eq!((response.status().as_u16(), location(&response)), (303, "/login"));
    assert!(set_cookies(response.headers())[0].starts_with("longhaul=; "), "the cookie is taken away");
    assert_eq!(browser.session().await.0, 401, "the old cookie is worth nothing");
}

#[tokio::test]
async fn a_wrong_key_and_a_form_of_another_site_open_nothing() {
    let (stage, secret) = stage().await;
    let browser = Browser::at(&stage);
    for wrong in
        ["", "key=", "key=lh_wrong", &format!("key={}", Secret::generate().expect("randomness").expose()), "\u{fffd}"]
    {
        let response = browser.form("/login", wrong).await;
        assert_eq!(response.status(), 401, "{wrong}");
        assert!(set_cookies(response.headers()).is_empty());
        assert!(response.text().await.expect("text").contains("role=\"alert\""));
    }
    let good = format!("key={}", secret.expose());
    for headers in
        [&[][..], &[("origin", "https://evil.example")], &[("sec-fetch-site", "cross-site")], &[("origin", "null")]]
    {
        let response = browser.send(Method::POST, "/login", headers, &good).await;
        assert_eq!(response.status(), 403, "{headers:?}");
    }
    let response = browser.form("/login?return=%2F%2Fevil.example", &good).await;
    assert_eq!(location(&response), "/", "it leads to no other site");
    assert_eq!(browser.form("/login", &"x".repeat(5_000)).await.status(), 413);
}

#[tokio::test]
async fn what_changes_something_needs_the_page_s_token_and_origin() {
    let (stage, browser, secret) = logged_in().await;
    let (_, session) = browser.session().await;
    let token = session["CsrfToken"].as_str().expect("a token").to_owned();
    let origin = ("origin", stage.base_url.as_str());
    let pause = "/api/tasktypes/Reindex/pause";
    let good = ("x-csrf-token", token.as_str());
    let refused = [
        vec![],
        vec![origin],
        vec![good],
        vec![good, ("origin", "https://evil.example")],
        vec![good, ("sec-fetch-site", "cross-site"), origin],
        vec![("x-csrf-token", "AAAA"), origin],
        vec![("x-csrf-token", &token[1..]), origin],
    ];
    for headers in refused {
        let response = browser.send(Method::POST, pause, &headers, "").await;
        assert_eq!(response.status(), 403, "{headers:?}");
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["code"], "cross-site", "{headers:?}");
    }
    assert!(browser.send(Method::POST, pause, &[good, origin], "").await.status().is_success());
    let says_so = ("sec-fetch-site", "same-origin");
    assert!(browser.send(Method::POST, pause, &[says_so, origin], "").await.status().is_success());
    assert!(browser.send(Method::POST, &format!("{pause}?csrf={token}"), &[origin], "").await.status().as_u16() != 403);

    // Another session's token does not fit, and whoever shows a key needs none.
    let mut other = Browser::at(&stage);
    let response = other.form("/login", &format!("key={}", secret.expose())).await;
    other.keeps(&response, "longhaul");
    assert_ne!(other.cookie, browser.cookie, "every login has a session of its own");
    assert_eq!(other.send(Method::POST, pause, &[good, origin], "").await.status(), 403);
    let bearer = format!("Bearer {}", secret.expose());
    assert!(browser.send(Method::POST, pause, &[("authorization", &bearer)], "").await.status().is_success());
}

#[tokio::test]
async fn a_session_ends_with_its_key_after_a_pause_and_after_its_time() {
    let (stage, browser, secret) = logged_in().await;
    for (makes, back) in [
        (
            "UPDATE longhaul.session SET used_at = now() - interval '61 minutes' RETURNING 1",
            "UPDATE longhaul.session SET used_at = now() RETURNING 1",
        ),
        (
            "UPDATE longhaul.session SET expires_at = now() RETURNING 1",
            "UPDATE longhaul.session SET expires_at = now() + interval '1 h' RETURNING 1",
        ),
    ] {
        assert_eq!(browser.session().await.0, 200);
        let _one: i32 = stage.value(makes).await;
        assert_eq!(browser.session().await.0, 401, "{makes}");
        let _one: i32 = stage.value(back).await;
    }
    let lasts: bool = stage
        .value("SELECT expires_at - created_at BETWEEN interval '50 minutes' AND interval '12 h' FROM longhaul.session")
        .await;
    assert!(lasts);
    assert_eq!(browser.session().await.0, 200);
    sqlx::query("UPDATE longhaul.api_key SET revoked_at = now() WHERE prefix = $1")
        .bind(secret.prefix())
        .execute(&stage.pool)
        .await
        .expect("revoked");
    assert_eq!(browser.session().await.0, 401, "the key was revoked");
}

#[tokio::test]
async fn a_browser_without_a_session_is_led_to_the_login_and_a_program_is_not() {
    let (stage, _secret) = stage().await;
    let browser = Browser::at(&stage);
    let response = browser.get("/api/queues?x=1").await;
    assert_eq!((response.status().as_u16(), location(&response)), (303, "/login?return=%2Fapi%2Fqueues%3Fx%3D1"));
    assert_eq!(browser.send(Method::GET, "/api/queues", &[("accept", "application/json")], "").await.status(), 401);
    assert_eq!(browser.send(Method::POST, "/api/backgroundtasks", &[("accept", "text/html")], "").await.status(), 401);
    let mut guesser = Browser::at(&stage);
    for cookie in ["longhaul=AAAA", &format!("longhaul={}", "A".repeat(43)), "longhaul=", "longhaul=a; longhaul=b"] {
        guesser.cookie = Some(cookie.to_owned());
        assert_eq!(guesser.session().await.0, 401, "{cookie}");
    }
}

#[tokio::test]
async fn without_authentication_there_is_no_login() {
    let stage = Stage::new().await;
    let browser = Browser::at(&stage);
    for path in ["/login", "/login/oidc", "/login/callback", "/api/session"] {
        assert_eq!(browser.get(path).await.status(), 404, "{path}");
    }
}
