//! The API as a client sees it.

use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::StatusCode;
use serde_json::Value;

/// A client of one API.
pub(crate) struct Client {
    http: reqwest::Client,
    base_url: String,
}

const TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

impl Client {
    pub(crate) fn new(base_url: &str) -> anyhow::Result<Self> {
        let http = longhaul_outbound::http_client().timeout(TIMEOUT).no_proxy().build()?;
        Ok(Self { http, base_url: base_url.to_owned() })
    }

    /// Waits until the API is ready.
    pub(crate) async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let url = format!("{}/health/ready", self.base_url);
        let ready = async {
            loop {
                match self.http.get(&url).send().await {
                    Ok(response) if response.status().is_success() => return,
                    _ => tokio::time::sleep(POLL).await,
                }
            }
        };
        tokio::time::timeout(TIMEOUT * 2, ready).await.with_context(|| format!("{url} did not become ready"))
    }

    /// Starts a task; returns its first body.
    pub(crate) async fn start(&self, request: &Value) -> anyhow::Result<Value> {
        let url = format!("{}/api/backgroundtasks", self.base_url);
        let response = self.http.post(url).json(request).send().await?;
        Self::body(response, StatusCode::ACCEPTED).await
    }

    pub(crate) async fn get(&self, url: &str) -> anyhow::Result<Value> {
        Self::body(self.http.get(url).send().await?, StatusCode::OK).await
    }

    async fn body(response: reqwest::Response, expected: StatusCode) -> anyhow::Result<Value> {
        let status = response.status();
        let body: Value = response.json().await.context("the response is not JSON")?;
        if status != expected {
            bail!("the API answered {status}: {}", body["detail"].as_str().unwrap_or("no detail"));
        }
        Ok(body)
    }

    /// Draws a bar from what the API says until the task is complete; returns the
    /// last body.
    pub(crate) async fn watch(&self, task: &Value) -> anyhow::Result<Value> {
        let url = task["Self"].as_str().context("the response has no Self")?.to_owned();
        let bar = ProgressBar::new(0);
        bar.set_style(ProgressStyle::with_template("  {bar:40} {percent:>3}% {pos}/{len} {wide_msg}")?);
        loop {
            let body = self.get(&url).await?;
            bar.set_length(body["TotalElements"].as_u64().unwrap_or(0));
            bar.set_position(body["ProcessedElements"].as_u64().unwrap_or(0));
            bar.set_message(body["Message"].as_str().unwrap_or_default().to_owned());
            if body["Complete"] == true {
                bar.finish_and_clear();
                return Ok(body);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
