//! A person logs in at the provider, by its own pages.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;

use longhaul_api::Authenticators;
use longhaul_api::oauth::{ResourceServer, Tokens};
use longhaul_api::session::{Login, Provider as AtProvider, ProviderSettings, SessionSettings};
use longhaul_tests::{Stage, shipped};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, Url};
use serde_json::{Value, json};

use super::provider::{Provider, keys};
use super::settings;

/// A browser that keeps cookies by port and name, and follows nothing by itself.
struct Browser {
    client: Client,
    cookies: BTreeMap<(u16, String), String>,
}

impl Browser {
    async fn send(&mut self, method: Method, url: &Url, form: Option<&str>) -> Response {
        let port = url.port_or_known_default().expect("a port");
        let mine = self.cookies.iter().filter(|((of, _), _)| *of == port);
        let cookies: Vec<String> = mine.map(|((_, name), value)| format!("{name}={value}")).collect();
        let mut request = self.client.request(method, url.clone()).header("cookie", cookies.join("; "));
        if let Some(form) = form {
            request = request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned());
        }
        let response = request.header("accept", "text/html").send().await.expect("an answer");
        for cookie in response.headers().get_all("set-cookie") {
            let text = cookie.to_str().expect("ASCII");
            let (name, value) = text.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
            let gone = value.is_empty() || text.contains("Max-Age=0") || text.contains("1970");
            let key = (port, name.to_owned());
            if gone {
                self.cookies.remove(&key)
            } else {
                self.cookies.insert(key, value.to_owned())
            };
        }
        response
    }

    /// Goes where it is sent until it is shown a page.
    async fn follow(&mut self, mut response: Response) -> Response {
        while response.status().is_redirection() {
            let to = response.headers().get("location").expect("a Location").to_str().expect("ASCII");
            let url = response.url().join(to).expect("an address");
            if url.path() == "/" {
                return response;
            }
            response = self.send(Method::GET, &url, None).await;
        }
        response
    }
}

#[tokio::test]
async fn a_person_logs_in_at_the_provider_and_may_do_what_their_groups_permit() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let base_url = format!("http://{}", listener.local_addr().expect("an address"));
    let redirect = format!("{base_url}/login/callback");
    let provider = Provider::start(&json!({"port": 0, "keys": keys("RS256", "k").await, "redirect": redirect})).await;
    let rules = ["claim:groups:ops=Administration/*"];
    let server = Arc::new(ResourceServer::new(settings(&provider.issuer(), &rules)).expect("a resource server"));
    let client = ProviderSettings {
        client_id: "longhaul".to_owned(),
        client_secret: Some("of longhaul".to_owned()),
        scopes: "profile".to_owned(),
    };
    let at_provider = AtProvider::new(Arc::clone(&server), client);
    let stage = Stage::builder(shipped::registry())
        .listener(listener)
        .authenticators(move |_| Authenticators::default().with(Tokens::new(server)))
        .login(move |pool| Login::new(pool.clone(), SessionSettings::default(), None, Some(at_provider)))
        .start()
        .await;
    for (name, status) in [("ann", 200), ("bob", 403)] {
        let client = longhaul_tests::http_client().redirect(Policy::none()).build().expect("a client");
        let mut browser = Browser { client, cookies: BTreeMap::new() };
        let start = Url::parse(&format!("{}/login/oidc", stage.base_url)).expect("an address");
        let response = browser.send(Method::GET, &start, None).await;
        let mut page = browser.follow(response).await;
        for form in [format!("prompt=login&login={name}&password=any"), "prompt=consent".to_owned()] {
            assert!(page.url().path().starts_with("/interaction/"), "{}", page.url());
            let address = page.url().clone();
            let response = browser.send(Method::POST, &address, Some(&form)).await;
            page = browser.follow(response).await;
        }
        assert_eq!(page.status(), 303, "{}", page.text().await.unwrap_or_default());
        let session = Url::parse(&format!("{}/api/session", stage.base_url)).expect("an address");
        let body: Value = browser.send(Method::GET, &session, None).await.json().await.expect("JSON");
        assert_eq!((&body["Name"], &body["Subject"]), (&json!(name), &json!(format!("{}|{name}", provider.issuer()))));
        let queues = Url::parse(&format!("{}/api/queues", stage.base_url)).expect("an address");
        assert_eq!(browser.send(Method::GET, &queues, None).await.status(), status, "{name}");
    }
}
