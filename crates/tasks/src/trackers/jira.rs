//! Jira: Cloud by REST API v3, Data Center and Server by v2. As far as we look
//! they differ in the address of a search only.

use async_trait::async_trait;
use longhaul_model::chrono::{DateTime, Utc};
use reqwest::Url;
use serde::Deserialize;

use super::client::{Auth, Client};
use super::{Ticket, Tracker, TrackerError, TrackerKind, address, clean};

pub(super) struct Jira<'a> {
    pub(super) client: &'a Client,
    pub(super) base_url: Url,
    pub(super) auth: Auth,
    pub(super) kind: TrackerKind,
    /// The key of a project.
    pub(super) remote_project: Option<String>,
}

const FIELDS: &str = "summary,status,updated,project";

#[derive(Deserialize)]
struct Found {
    issues: Vec<Issue>,
}

#[derive(Deserialize)]
struct Issue {
    id: String,
    key: String,
    fields: Fields,
}

#[derive(Deserialize)]
struct Fields {
    summary: Option<String>,
    status: Option<Status>,
    updated: Option<String>,
    project: Option<Project>,
}

#[derive(Deserialize)]
struct Status {
    name: String,
}

#[derive(Deserialize)]
struct Project {
    key: String,
}

#[async_trait]
impl Tracker for Jira<'_> {
    async fn find_by_key(&self, key: &str) -> Result<Option<Ticket>, TrackerError> {
        // The same address takes ids and keys: a number must not pass for a key.
        if is_key(key) { self.issue(key).await } else { Ok(None) }
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<Ticket>, TrackerError> {
        let is_id = !id.is_empty() && id.len() <= 18 && id.bytes().all(|byte| byte.is_ascii_digit());
        if is_id { self.issue(id).await } else { Ok(None) }
    }

    async fn search(&self, words: &str, limit: usize) -> Result<Vec<Ticket>, TrackerError> {
        let mut jql = format!("text ~ {}", quoted(words));
        if let Some(project) = &self.remote_project {
            jql = format!("project = {} AND {jql}", quoted(project));
        }
        jql.push_str(" ORDER BY updated DESC");
        let mut url = match self.kind {
            TrackerKind::JiraCloud => address(&self.base_url, &["rest", "api", "3", "search", "jql"]),
            _ => address(&self.base_url, &["rest", "api", "2", "search"]),
        };
        url.query_pairs_mut()
            .append_pair("jql", &jql)
            .append_pair("fields", FIELDS)
            .append_pair("maxResults", &limit.to_string());
        let Some(answer) = self.client.get(url, &self.auth).await? else {
            return Err(TrackerError::Misbehaved("There is no Jira at the address of the external system.".to_owned()));
        };
        let found: Found = serde_json::from_value(answer).map_err(not_understood)?;
        let mut tickets: Vec<Ticket> = found.issues.into_iter().map(|issue| self.ticket(issue)).collect();
        // People also type the key, which is no text to search for.
        if let Some(ticket) = self.find_by_key(words.trim()).await?
            && !tickets.contains(&ticket)
        {
            tickets.insert(0, ticket);
        }
        Ok(tickets)
    }
}

impl Jira<'_> {
    async fn issue(&self, id_or_key: &str) -> Result<Option<Ticket>, TrackerError> {
        let version = if self.kind == TrackerKind::JiraCloud { "3" } else { "2" };
        let mut url = address(&self.base_url, &["rest", "api", version, "issue", id_or_key]);
        url.query_pairs_mut().append_pair("fields", FIELDS);
        let Some(answer) = self.client.get(url, &self.auth).await? else { return Ok(None) };
        let issue: Issue = serde_json::from_value(answer).map_err(not_understood)?;
        let elsewhere = match (&self.remote_project, &issue.fields.project) {
            (Some(wanted), Some(project)) => !project.key.eq_ignore_ascii_case(wanted),
            _ => false,
        };
        Ok(if elsewhere { None } else { Some(self.ticket(issue)) })
    }

    fn ticket(&self, issue: Issue) -> Ticket {
        let summary = issue.fields.summary.filter(|text| !text.trim().is_empty());
        Ticket {
            url: address(&self.base_url, &["browse", &issue.key]).to_string(),
            summary: summary.map_or_else(|| clean(&issue.key), |text| clean(&text)),
            status: issue.fields.status.map(|status| clean(&status.name)),
            updated_at: issue.fields.updated.and_then(|text| time(&text)),
            key: clean(&issue.key),
            id: clean(&issue.id),
        }
    }
}

fn not_understood(error: serde_json::Error) -> TrackerError {
    TrackerError::Misbehaved(format!("Jira's answer was not understood: {error}."))
}

/// `2023-05-04T11:22:33.000+0200`: ISO 8601 without a colon in the offset.
fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z").ok().map(|at| at.to_utc())
}

/// A project's key, a hyphen, a number.
fn is_key(key: &str) -> bool {
    let Some((project, number)) = key.rsplit_once('-') else { return false };
    key.len() <= 100
        && project.starts_with(|c: char| c.is_ascii_alphabetic())
        && project.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// A JQL string: quoted, so that nothing in it is an operator.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::{is_key, quoted, time};

    #[test]
    fn a_key_is_project_hyphen_number() {
        assert!(is_key("TST-123") && is_key("t2_x-1"));
        for text in ["10000", "TST", "TST-", "-1", "TST-1/../2", "TST-1?x", "1A-2", "TST 1-2"] {
            assert!(!is_key(text), "{text}");
        }
    }

    #[test]
    fn words_can_not_break_out_of_their_quotes() {
        assert_eq!(quoted(r#"a" OR "b\"#), r#""a\" OR \"b\\""#);
    }

    #[test]
    fn jiras_times_are_read() {
        let at = time("2023-05-04T11:22:33.000+0200").expect("a time");
        assert_eq!(at.to_rfc3339(), "2023-05-04T09:22:33+00:00");
        assert_eq!(time("yesterday"), None);
    }
}
