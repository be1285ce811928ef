//! GitLab issues, by REST API v4.
//!
//! A connection is always to one project, and the internal id is the number
//! within it (`iid`): GitLab's global id can be looked up by administrators
//! only. The key is the number with a `#`, as people write it.

use async_trait::async_trait;
use longhaul_model::chrono::{DateTime, Utc};
use reqwest::Url;
use serde::Deserialize;

use super::auth::Auth;
use super::client::Client;
use super::error::TrackerError;
use super::tracker::{Found, Ticket, Tracker, address, clean};

pub(super) struct GitLab<'a> {
    pub(super) client: &'a Client,
    pub(super) base_url: Url,
    pub(super) auth: Auth,
    /// Its path (`group/project`) or number.
    pub(super) project: String,
}

#[derive(Deserialize)]
struct Issue {
    iid: i64,
    #[serde(default)]
    title: String,
    state: Option<String>,
    updated_at: Option<DateTime<Utc>>,
    web_url: Option<String>,
}

#[async_trait]
impl Tracker for GitLab<'_> {
    async fn find_by_key(&self, key: &str) -> Result<Found, TrackerError> {
        self.find_by_id(key.strip_prefix('#').unwrap_or(key)).await
    }

    async fn find_by_id(&self, id: &str) -> Result<Found, TrackerError> {
        if id.is_empty() || id.len() > 18 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Found::Nowhere);
        }
        let url = address(&self.base_url, &["api", "v4", "projects", &self.project, "issues", id]);
        let Some(answer) = self.client.get(url, &self.auth).await? else {
            // The project may be what is not there.
            self.require_project().await?;
            return Ok(Found::Nowhere);
        };
        Ok(Found::Here(self.ticket(serde_json::from_value(answer).map_err(not_understood)?)))
    }

    async fn search(&self, words: &str, limit: usize) -> Result<Vec<Ticket>, TrackerError> {
        let mut url = address(&self.base_url, &["api", "v4", "projects", &self.project, "issues"]);
        url.query_pairs_mut()
            .append_pair("search", words)
            .append_pair("order_by", "updated_at")
            .append_pair("per_page", &limit.to_string());
        let Some(answer) = self.client.get(url, &self.auth).await? else {
            return Err(self.no_project());
        };
        let found: Vec<Issue> = serde_json::from_value(answer).map_err(not_understood)?;
        let mut tickets: Vec<Ticket> = found.into_iter().map(|issue| self.ticket(issue)).collect();
        if let Some(ticket) = self.find_by_key(words.trim()).await?.here()
            && !tickets.contains(&ticket)
        {
            tickets.insert(0, ticket);
        }
        Ok(tickets)
    }
}

impl GitLab<'_> {
    async fn require_project(&self) -> Result<(), TrackerError> {
        let url = address(&self.base_url, &["api", "v4", "projects", &self.project]);
        match self.client.get(url, &self.auth).await? {
            Some(_) => Ok(()),
            None => Err(self.no_project()),
        }
    }

    fn no_project(&self) -> TrackerError {
        TrackerError::Misbehaved(format!(
            "GitLab has no project '{}' (RemoteProject of the external system link), or it is not visible to us.",
            self.project
        ))
    }

    fn ticket(&self, issue: Issue) -> Ticket {
        let id = issue.iid.to_string();
        let key = format!("#{id}");
        // Shown as a link, so nothing but an address of the web.
        let web_url = issue.web_url.filter(|url| url.starts_with("https://") || url.starts_with("http://"));
        let path: Vec<&str> = self.project.split('/').chain(["-", "issues", id.as_str()]).collect();
        Ticket {
            url: web_url.map_or_else(|| address(&self.base_url, &path).to_string(), |url| clean(&url)),
            summary: if issue.title.trim().is_empty() { key.clone() } else { clean(&issue.title) },
            status: issue.state.as_deref().map(clean),
            updated_at: issue.updated_at,
            key,
            id,
        }
    }
}

fn not_understood(error: serde_json::Error) -> TrackerError {
    TrackerError::Misbehaved(format!("GitLab's answer was not understood: {error}."))
}
