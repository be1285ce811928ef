//! Jira: Cloud by REST API v3, Data Center and Server by v2. As far as we look
//! they differ in the address of a search only.

use async_trait::async_trait;
use longhaul_model::chrono::{DateTime, Utc};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use super::auth::Auth;
use super::client::Client;
use super::error::TrackerError;
use super::tracker::{Found, Ticket, Tracker, TrackerKind, address, clean};

pub(super) struct Jira<'a> {
    pub(super) client: &'a Client,
    pub(super) base_url: Url,
    pub(super) auth: Auth,
    pub(super) kind: TrackerKind,
    /// The key of a project.
    pub(super) remote_project: Option<String>,
}

const FIELDS: &str = "summary,status,updated,project";

/// A search may take this many requests: Cloud may put fewer issues on a page than
/// were asked for.
const MOST_PAGES: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    issues: Vec<Issue>,
    /// Cloud's; absent or null on the last page.
    next_page_token: Option<String>,
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
    /// A time as text; in an example of Atlassian's document it is a number.
    updated: Option<Value>,
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
    async fn find_by_key(&self, key: &str) -> Result<Found, TrackerError> {
        // The same address takes ids and keys: a number must not pass for a key.
        if is_key(key) { self.issue(key).await } else { Ok(Found::Nowhere) }
    }

    async fn find_by_id(&self, id: &str) -> Result<Found, TrackerError> {
        let is_id = !id.is_empty() && id.len() <= 18 && id.bytes().all(|byte| byte.is_ascii_digit());
        if is_id { self.issue(id).await } else { Ok(Found::Nowhere) }
    }

    async fn search(&self, words: &str, limit: usize) -> Result<Vec<Ticket>, TrackerError> {
        let mut tickets = match terms(words) {
            Some(terms) => self.containing(&terms, limit).await?,
            None => Vec::new(),
        };
        // People also type the key, which is no text to search for.
        if let Some(ticket) = self.find_by_key(words.trim()).await?.here()
            && !tickets.contains(&ticket)
        {
            tickets.insert(0, ticket);
        }
        Ok(tickets)
    }
}

impl Jira<'_> {
    /// Tickets whose texts fit these terms, the last changed first.
    async fn containing(&self, terms: &str, limit: usize) -> Result<Vec<Ticket>, TrackerError> {
        let mut jql = format!("text ~ {}", quoted(terms));
        if let Some(project) = &self.remote_project {
            jql = format!("project = {} AND {jql}", quoted(project));
        }
        jql.push_str(" ORDER BY updated DESC");
        let segments: &[&str] = match self.kind {
            TrackerKind::JiraCloud => &["rest", "api", "3", "search", "jql"],
            _ => &["rest", "api", "2", "search"],
        };
        let (mut tickets, mut token): (Vec<Ticket>, Option<String>) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let mut url = address(&self.base_url, segments);
            url.query_pairs_mut()
                .append_pair("jql", &jql)
                .append_pair("fields", FIELDS)
                .append_pair("maxResults", &(limit - tickets.len()).to_string())
                .extend_pairs(token.as_ref().map(|token| ("nextPageToken", token)));
            let Some(answer) = self.client.get(url, &self.auth).await? else {
                let detail = "There is no Jira at the address of the external system.".to_owned();
                return Err(TrackerError::Misbehaved(detail));
            };
            let found: Page = serde_json::from_value(answer).map_err(not_understood)?;
            tickets.extend(found.issues.into_iter().map(|issue| self.ticket(issue)));
            token = found.next_page_token;
            if token.is_none() || tickets.len() >= limit {
                break;
            }
        }
        tickets.truncate(limit);
        Ok(tickets)
    }

    async fn issue(&self, id_or_key: &str) -> Result<Found, TrackerError> {
        let version = if self.kind == TrackerKind::JiraCloud { "3" } else { "2" };
        let mut url = address(&self.base_url, &["rest", "api", version, "issue", id_or_key]);
        url.query_pairs_mut().append_pair("fields", FIELDS);
        let Some(answer) = self.client.get(url, &self.auth).await? else { return Ok(Found::Nowhere) };
        let issue: Issue = serde_json::from_value(answer).map_err(not_understood)?;
        let elsewhere = match (&self.remote_project, &issue.fields.project) {
            (Some(wanted), Some(project)) => !project.key.eq_ignore_ascii_case(wanted),
            _ => false,
        };
        let ticket = self.ticket(issue);
        Ok(if elsewhere { Found::Elsewhere(ticket) } else { Found::Here(ticket) })
    }

    fn ticket(&self, issue: Issue) -> Ticket {
        let summary = issue.fields.summary.filter(|text| !text.trim().is_empty());
        Ticket {
            url: address(&self.base_url, &["browse", &issue.key]).to_string(),
            summary: summary.map_or_else(|| clean(&issue.key), |text| clean(&text)),
            status: issue.fields.status.map(|status| clean(&status.name)),
            updated_at: issue.fields.updated.as_ref().and_then(Value::as_str).and_then(time),
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

/// What people typed, as a text search of Jira takes it: words, and phrases in
/// quotation marks. Other operators (Atlassian, "Search syntax for text fields")
/// are no part of what is indexed, and a stray one makes Jira refuse the search, so
/// they go; `AND`, `OR` and `NOT` are words in lower case, as case does not matter.
/// `None` if nothing is left to search for.
fn terms(words: &str) -> Option<String> {
    let phrases = words.matches('"').count().is_multiple_of(2);
    let mut within = false;
    let text: String = words
        .to_lowercase()
        .chars()
        .map(|c| match c {
            '"' if phrases => {
                within = !within;
                '"'
            }
            '"' | '\\' => ' ',
            c if !within && "+-&|!(){}[]^~*?/:".contains(c) => ' ',
            c => c,
        })
        .collect();
    text.contains(char::is_alphanumeric).then(|| text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A JQL string: quoted, so that nothing in it is an operator.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::{is_key, quoted, terms, time};

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
    fn operators_of_a_text_search_are_not_searched_for() {
        for (typed, asked) in [
            ("Login fails", Some("login fails")),
            ("say \"Hi there\"", Some("say \"hi there\"")),
            ("say \"hi", Some("say hi")),
            ("\"https://x.example/a-b\"", Some("\"https://x.example/a-b\"")),
            ("(a AND b) OR -c*", Some("a and b or c")),
            ("*?!", None),
            ("\"\"", None),
        ] {
            assert_eq!(terms(typed).as_deref(), asked, "{typed}");
        }
    }

    #[test]
    fn jiras_times_are_read() {
        let at = time("2023-05-04T11:22:33.000+0200").expect("a time");
        assert_eq!(at.to_rfc3339(), "2023-05-04T09:22:33+00:00");
        assert_eq!(time("yesterday"), None);
    }
}
