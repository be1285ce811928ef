//! Redmine, 3.0 or newer, by its REST API (`/issues.json`).
//!
//! The number of an issue is its internal id and its key in one; as a key it may
//! be written with a `#`.

use async_trait::async_trait;
use longhaul_model::chrono::{DateTime, Utc};
use reqwest::Url;
use serde::Deserialize;

use super::auth::Auth;
use super::client::Client;
use super::error::TrackerError;
use super::tracker::{Found, Ticket, Tracker, address, clean};

pub(super) struct Redmine<'a> {
    pub(super) client: &'a Client,
    pub(super) base_url: Url,
    pub(super) auth: Auth,
    /// The identifier or number of a project; its subprojects count too.
    pub(super) remote_project: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    issues: Vec<Issue>,
}

#[derive(Deserialize)]
struct Issue {
    id: i64,
    #[serde(default)]
    subject: String,
    status: Option<Named>,
    updated_on: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[async_trait]
impl Tracker for Redmine<'_> {
    async fn find_by_key(&self, key: &str) -> Result<Found, TrackerError> {
        self.find_by_id(key.strip_prefix('#').unwrap_or(key)).await
    }

    async fn find_by_id(&self, id: &str) -> Result<Found, TrackerError> {
        // Anything else than a plain number is nobody's key. Redmine itself would
        // read a list from commas and ranges from signs.
        if id.is_empty() || id.len() > 18 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Found::Nowhere);
        }
        let project = self.remote_project.as_deref();
        if let Some(ticket) = self.issue(id, project).await? {
            return Ok(Found::Here(ticket));
        }
        Ok(match project {
            Some(_) => self.issue(id, None).await?.map_or(Found::Nowhere, Found::Elsewhere),
            None => Found::Nowhere,
        })
    }

    async fn search(&self, words: &str, limit: usize) -> Result<Vec<Ticket>, TrackerError> {
        let limit = limit.to_string();
        let subject = format!("~{words}");
        let filter = [("subject", subject.as_str()), ("sort", "updated_on:desc"), ("limit", &limit)];
        let mut found = self.issues(&filter, self.remote_project.as_deref()).await?;
        // People also type the number.
        if let Some(ticket) = self.find_by_key(words.trim()).await?.here()
            && !found.contains(&ticket)
        {
            found.insert(0, ticket);
        }
        Ok(found)
    }
}

impl Redmine<'_> {
    async fn issue(&self, id: &str, project: Option<&str>) -> Result<Option<Ticket>, TrackerError> {
        let found = self.issues(&[("issue_id", id), ("limit", "1")], project).await?;
        Ok(found.into_iter().find(|ticket| ticket.id == id.trim_start_matches('0')))
    }

    /// The issues of a project, or of all.
    async fn issues(&self, filter: &[(&str, &str)], project: Option<&str>) -> Result<Vec<Ticket>, TrackerError> {
        let mut url = address(&self.base_url, &["issues.json"]);
        // Without a status only open issues are found.
        url.query_pairs_mut().append_pair("status_id", "*").extend_pairs(filter);
        if let Some(project) = project {
            url.query_pairs_mut().append_pair("project_id", project);
        }
        let Some(answer) = self.client.get(url, &self.auth).await? else {
            return Err(TrackerError::Misbehaved(match project {
                Some(project) => format!(
                    "Redmine has no project '{project}' (RemoteProject of the external system link), or its REST \
                     API is disabled."
                ),
                None => "There is no Redmine at the address of the external system.".to_owned(),
            }));
        };
        let found: Page = serde_json::from_value(answer)
            .map_err(|error| TrackerError::Misbehaved(format!("Redmine's answer was not understood: {error}.")))?;
        Ok(found.issues.into_iter().map(|issue| self.ticket(&issue)).collect())
    }

    fn ticket(&self, issue: &Issue) -> Ticket {
        let id = issue.id.to_string();
        let key = format!("#{id}");
        let summary = if issue.subject.trim().is_empty() { key.clone() } else { clean(&issue.subject) };
        Ticket {
            url: address(&self.base_url, &["issues", &id]).to_string(),
            status: issue.status.as_ref().map(|status| clean(&status.name)),
            updated_at: issue.updated_on,
            summary,
            key,
            id,
        }
    }
}
