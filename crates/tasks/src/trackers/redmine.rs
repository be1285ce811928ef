//! Redmine, 3.0 or newer, by its REST API (`/issues.json`).
//!
//! The number of an issue is its internal id and its key in one; as a key it may
//! be written with a `#`.

use async_trait::async_trait;
use longhaul_model::chrono::{DateTime, Utc};
use reqwest::Url;
use serde::Deserialize;

use super::client::{Auth, Client};
use super::{Ticket, Tracker, TrackerError, address, clean};

pub(super) struct Redmine<'a> {
    pub(super) client: &'a Client,
    pub(super) base_url: Url,
    pub(super) auth: Auth,
    /// The identifier or number of a project; its subprojects count too.
    pub(super) remote_project: Option<String>,
}

#[derive(Deserialize)]
struct Found {
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
    async fn find_by_key(&self, key: &str) -> Result<Option<Ticket>, TrackerError> {
        self.find_by_id(key.strip_prefix('#').unwrap_or(key)).await
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<Ticket>, TrackerError> {
        // Anything else than a plain number is nobody's key. Redmine itself would
        // read a list from commas and ranges from signs.
        if id.is_empty() || id.len() > 18 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(None);
        }
        let found = self.issues(&[("issue_id", id), ("limit", "1")]).await?;
        Ok(found.into_iter().find(|ticket| ticket.id == id.trim_start_matches('0')))
    }

    async fn search(&self, words: &str, limit: usize) -> Result<Vec<Ticket>, TrackerError> {
        let limit = limit.to_string();
        let subject = format!("~{words}");
        let mut found = self.issues(&[("subject", &subject), ("sort", "updated_on:desc"), ("limit", &limit)]).await?;
        // People also type the number.
        if let Some(ticket) = self.find_by_key(words.trim()).await?
            && !found.contains(&ticket)
        {
            found.insert(0, ticket);
        }
        Ok(found)
    }
}

impl Redmine<'_> {
    async fn issues(&self, filter: &[(&str, &str)]) -> Result<Vec<Ticket>, TrackerError> {
        let mut url = address(&self.base_url, &["issues.json"]);
        // Without a status only open issues are found.
        url.query_pairs_mut().append_pair("status_id", "*").extend_pairs(filter);
        if let Some(project) = &self.remote_project {
            url.query_pairs_mut().append_pair("project_id", project);
        }
        let Some(answer) = self.client.get(url, &self.auth).await? else {
            return Err(TrackerError::Misbehaved(match &self.remote_project {
                Some(project) => format!("Redmine knows no project '{project}', or its REST API is switched off."),
                None => "There is no Redmine at the address of the external system.".to_owned(),
            }));
        };
        let found: Found = serde_json::from_value(answer)
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
