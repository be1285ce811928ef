//! A client of one API.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use super::private::{BASE_URL, Private};

/// A request that is no stream may take this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// A client of one API.
pub(crate) struct Client {
    http: reqwest::Client,
    base_url: Url,
    key: Option<String>,
    /// The API, if it is one of our own.
    _private: Option<Private>,
}

/// The API answered that it will not.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    detail: String,
    code: Option<String>,
}

impl Refused {
    /// The code of the error, if the documentation explains it.
    pub(crate) fn explained(&self) -> Option<&str> {
        self.code.as_deref().filter(|code| longhaul_book::error_path(code).is_some())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Refused {}

impl Client {
    /// Of the API at this address.
    pub(crate) fn new(url: &str, key: Option<&str>) -> anyhow::Result<Self> {
        let base_url: Url = url.parse().with_context(|| format!("'{url}' is not the address of an API"))?;
        ensure!(
            matches!(base_url.scheme(), "http" | "https"),
            "the API's address must begin with http:// or https://, not '{url}'"
        );
        let mut http = longhaul_outbound::http_client().connect_timeout(CONNECT);
        let host = base_url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        if host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
            http = http.no_proxy();
        }
        let http = http.build()?;
        Ok(Self { http, base_url, key: key.filter(|key| !key.is_empty()).map(str::to_owned), _private: None })
    }

    pub(super) fn of_private(private: Private) -> anyhow::Result<Self> {
        let http = longhaul_outbound::http_client().unix_socket(private.socket()).build()?;
        Ok(Self { http, base_url: Url::parse(BASE_URL)?, key: None, _private: Some(private) })
    }

    /// An address of the API.
    pub(crate) fn at(&self, segments: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.base_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Reads something.
    ///
    /// # Errors
    /// [`Refused`], or that the API could not be reached.
    pub(crate) async fn get(&self, segments: &[&str]) -> anyhow::Result<Value> {
        self.get_url(self.at(segments, &[])).await
    }

    /// The same with a query.
    pub(crate) async fn get_url(&self, url: Url) -> anyhow::Result<Value> {
        body(self.ask(self.http.get(url).timeout(PATIENCE)).await?).await
    }

    /// Sends something; null if the answer is empty.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) async fn send(&self, method: Method, segments: &[&str], json: Option<&Value>) -> anyhow::Result<Value> {
        let request = self.http.request(method, self.at(segments, &[])).timeout(PATIENCE);
        let request = match json {
            Some(json) => request.json(json),
            None => request,
        };
        body(self.ask(request).await?).await
    }

    /// Starts a task.
    pub(crate) async fn start(&self, request: &Value, idempotency_key: Option<&str>) -> anyhow::Result<Value> {
        let mut post = self.http.post(self.at(&["api", "backgroundtasks"], &[])).timeout(PATIENCE).json(request);
        if let Some(key) = idempotency_key {
            post = post.header("Idempotency-Key", key);
        }
        body(self.ask(post).await?).await
    }

    /// A stream of newline-delimited JSON.
    pub(super) async fn stream(&self, segments: &[&str], query: &[(&str, String)]) -> anyhow::Result<Response> {
        self.ask(self.http.get(self.at(segments, query)).header("Accept", "application/x-ndjson")).await
    }

    async fn ask(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let request = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let response = request.send().await.map_err(|error| {
            let why = anyhow::Error::new(error.without_url());
            why.context(format!("the API at {} could not be reached (--url, LONGHAUL_URL)", self.base_url))
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        Err(refusal(status, serde_json::from_str(&text).unwrap_or_default()).into())
    }
}

async fn body(response: Response) -> anyhow::Result<Value> {
    let text = response.text().await.context("the response ended early")?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).context("the response is not JSON; check that this is the address of the API")
}

/// What a problem document says, in one line and one for each thing that is wrong.
fn refusal(status: StatusCode, problem: Value) -> Refused {
    let mut detail = match problem["detail"].as_str().or(problem["title"].as_str()) {
        Some(detail) => detail.to_owned(),
        None => format!("the API answered {status} without a reason"),
    };
    let code = problem["code"].as_str().map(str::to_owned);
    if let Some(code) = &code {
        detail.push_str(&format!(" ({code})"));
    }
    // Of a single one, the detail is all that there is to say.
    let errors = problem["errors"].as_array().filter(|errors| errors.len() > 1);
    for error in errors.into_iter().flatten() {
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        detail.push_str(&format!("\n  {}: {}", text("pointer"), text("message")));
    }
    if status == StatusCode::UNAUTHORIZED {
        detail.push_str("\n  Give a key with LONGHAUL_KEY or --key.");
    }
    Refused { status, detail, code }
}
