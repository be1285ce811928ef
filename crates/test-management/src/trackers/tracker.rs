//! A tracker, and what it is asked for.

use async_trait::async_trait;
use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::schemars::JsonSchema;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::error::TrackerError;

/// An issue in a tracker, as far as we look at it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars")]
pub struct Ticket {
    /// The tracker's internal id, which outlives renames and moves.
    pub id: String,
    /// What people call it, e.g. `TST-123` or `#12`.
    pub key: String,
    /// Its title; the key if it has none.
    pub summary: String,
    /// The tracker's word for where it is in its life.
    pub status: Option<String>,
    /// Where people look at it.
    pub url: String,
    /// When it was last changed, by the tracker's clock.
    pub updated_at: Option<DateTime<Utc>>,
}

/// What a tracker knows of a key or an id.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// The ticket.
    Here(Ticket),
    /// The ticket, but in another of the tracker's projects than the connection is limited
    /// to (`RemoteProject`): it was moved, or never was in that one.
    Elsewhere(Ticket),
    /// Nothing.
    Nowhere,
}

impl Found {
    /// The ticket, if it is where the connection looks.
    #[must_use]
    pub fn here(self) -> Option<Ticket> {
        match self {
            Found::Here(ticket) => Some(ticket),
            Found::Elsewhere(_) | Found::Nowhere => None,
        }
    }

    /// The ticket, wherever it is: of one that an incident follows.
    #[must_use]
    pub fn anywhere(self) -> Option<Ticket> {
        match self {
            Found::Here(ticket) | Found::Elsewhere(ticket) => Some(ticket),
            Found::Nowhere => None,
        }
    }
}

/// A tracker, with the credentials to ask it.
#[async_trait]
pub trait Tracker: Send + Sync {
    /// The ticket that people call by this key, if there is one.
    async fn find_by_key(&self, key: &str) -> Result<Found, TrackerError>;

    /// The ticket with this internal id, if there is one.
    async fn find_by_id(&self, id: &str) -> Result<Found, TrackerError>;

    /// At most `limit` (1 to 100) tickets that contain these words, the last
    /// changed first.
    async fn search(&self, words: &str, limit: usize) -> Result<Vec<Ticket>, TrackerError>;
}

/// The trackers that can be connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "longhaul_model::schemars")]
pub enum TrackerKind {
    /// Jira Cloud, REST API v3. Credentials: `Username` (e-mail address) and an
    /// API token.
    JiraCloud,
    /// Jira Data Center or Server, REST API v2. Credentials: a personal access
    /// token, or `Username` and password.
    JiraDataCenter,
    /// Redmine. Credentials: an API key.
    Redmine,
    /// GitLab issues, REST API v4. Credentials: an access token. A connection requires the
    /// tracker's project (its path or number).
    GitLab,
}

impl TrackerKind {
    /// The name on the wire and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            TrackerKind::JiraCloud => "JiraCloud",
            TrackerKind::JiraDataCenter => "JiraDataCenter",
            TrackerKind::Redmine => "Redmine",
            TrackerKind::GitLab => "GitLab",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::JiraCloud, Self::JiraDataCenter, Self::Redmine, Self::GitLab]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// Longer summaries are cut: a title is a line, not a report.
const SUMMARY_LIMIT: usize = 500;

/// A tracker's text as we store it: without NUL, which PostgreSQL can't hold,
/// and bounded.
pub(super) fn clean(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(SUMMARY_LIMIT).collect()
}

/// The base URL with these path segments after its own, each escaped.
pub(super) fn address(base_url: &Url, segments: &[&str]) -> Url {
    let mut url = base_url.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}
