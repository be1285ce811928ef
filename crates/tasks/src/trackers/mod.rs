//! External defect trackers: one small trait, one file a tracker.

pub(crate) mod address;
mod client;
mod gitlab;
mod jira;
mod redmine;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::schemars::JsonSchema;
use longhaul_model::{CreateError, ProblemKind, RunError};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::client::{Auth, Client};
use crate::problem::{TRACKER_MISBEHAVED, TRACKER_NOT_ALLOWED, TRACKER_REFUSED, TRACKER_UNAVAILABLE};
pub use longhaul_model::{InvalidSecretKey, SecretKey};

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

/// A tracker, with the credentials to ask it.
#[async_trait]
pub trait Tracker: Send + Sync {
    /// The ticket that people call by this key, if there is one.
    async fn find_by_key(&self, key: &str) -> Result<Option<Ticket>, TrackerError>;

    /// The ticket with this internal id, if there is one.
    async fn find_by_id(&self, id: &str) -> Result<Option<Ticket>, TrackerError>;

    /// At most `limit` (1 to 100) tickets that contain these words, the last
    /// changed first.
    async fn search(&self, words: &str, limit: usize) -> Result<Vec<Ticket>, TrackerError>;
}

/// Why a tracker did not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrackerError {
    /// It did not answer in time, can't be reached, or asked to be left alone.
    Unavailable {
        /// For clients.
        detail: String,
        /// When it wants to be asked again, if it said so.
        retry_after: Option<Duration>,
    },
    /// It does not accept our credentials, or these have no right to look.
    Refused(String),
    /// Its address is one that this host may not talk to.
    NotAllowed(String),
    /// Its answer is not what such a tracker answers.
    Misbehaved(String),
}

impl TrackerError {
    fn kind(&self) -> ProblemKind {
        match self {
            TrackerError::Unavailable { .. } => TRACKER_UNAVAILABLE,
            TrackerError::Refused(_) => TRACKER_REFUSED,
            TrackerError::NotAllowed(_) => TRACKER_NOT_ALLOWED,
            TrackerError::Misbehaved(_) => TRACKER_MISBEHAVED,
        }
    }

    /// In words, for clients.
    pub(crate) fn detail(self) -> String {
        match self {
            TrackerError::Unavailable { detail, .. } => detail,
            TrackerError::Refused(detail) | TrackerError::NotAllowed(detail) | TrackerError::Misbehaved(detail) => {
                detail
            }
        }
    }
}

impl From<TrackerError> for CreateError {
    fn from(error: TrackerError) -> Self {
        match error {
            TrackerError::Unavailable { detail, .. } => CreateError::Unavailable { detail },
            error => CreateError::Impossible { kind: error.kind(), detail: error.detail() },
        }
    }
}

/// Whatever a tracker says may be different in a minute (credentials and
/// addresses are mended), so every error is tried again by the type's policy.
impl From<TrackerError> for RunError {
    fn from(error: TrackerError) -> Self {
        let kind = error.kind();
        match error {
            TrackerError::Unavailable { detail, retry_after: Some(delay) } => {
                RunError::retry_after(delay, kind, detail)
            }
            error => RunError::transient(kind, error.detail()),
        }
    }
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
    /// GitLab issues, REST API v4. Credentials: an access token. A connection
    /// needs the tracker's project (its path or number).
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

/// What a tracker wants to see before it answers.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars")]
pub struct Credentials {
    /// The account, where the tracker wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub username: Option<String>,
    /// API key, token or password.
    #[schemars(length(min = 1, max = 4000))]
    pub secret: String,
}

// By hand, so that the secret does not get into a log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// How trackers are asked.
#[derive(Debug, Clone)]
pub struct TrackerSettings {
    /// Seals and opens stored credentials; without it none can be stored or
    /// used.
    pub secret_key: Option<SecretKey>,
    /// Keys that sealed credentials before; they still open them.
    pub older_secret_keys: Vec<SecretKey>,
    /// Also talk to loopback, private and link-local addresses, and to trackers
    /// without TLS. Off by default: whoever may enter a tracker's address could
    /// otherwise make this host ask its neighbours.
    pub allow_private: bool,
    /// A tracker must answer in this time, all tries together. Default 10 s.
    pub deadline: Duration,
    /// Tries in all, when it answers 429 or 5xx or the connection breaks.
    /// Default 3.
    pub tries: u32,
    /// Requests to one tracker at the same time. Default 8; more wait.
    pub at_once: usize,
}

impl Default for TrackerSettings {
    fn default() -> Self {
        Self {
            secret_key: None,
            older_secret_keys: Vec::new(),
            allow_private: false,
            deadline: Duration::from_secs(10),
            tries: 3,
            at_once: 8,
        }
    }
}

/// The way to all trackers: a resource that the host gives to task types
/// ([`longhaul_model::Resources`]).
pub struct Trackers {
    client: Client,
    settings: TrackerSettings,
}

/// What is needed to ask one tracker about one project of its own.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The external system's id, which its credentials are bound to.
    pub system_id: Uuid,
    /// Which tracker.
    pub kind: TrackerKind,
    /// Where it is.
    pub base_url: String,
    /// The tracker's project, if limited to one.
    pub remote_project: Option<String>,
    /// Sealed by [`Trackers::seal`].
    pub credentials: Option<Vec<u8>>,
}

/// No `LONGHAUL_SECRET_KEY`, or not the one that sealed these credentials.
#[derive(Debug, thiserror::Error)]
#[error("credentials need the host's secret key")]
pub struct NoSecretKey;

impl Trackers {
    /// The way to all trackers, under these settings.
    ///
    /// # Errors
    /// When no HTTP client can be made (TLS roots that can't be read).
    pub fn new(settings: TrackerSettings) -> Result<Self, reqwest::Error> {
        Ok(Self { client: Client::new(&settings)?, settings })
    }

    /// Encrypts credentials for storing, bound to the external system's id, so
    /// that they open for no other one.
    ///
    /// # Errors
    /// When the host has no secret key.
    pub fn seal(&self, system_id: Uuid, credentials: &Credentials) -> Result<Vec<u8>, NoSecretKey> {
        let key = self.settings.secret_key.as_ref().ok_or(NoSecretKey)?;
        let plain = serde_json::to_vec(credentials).map_err(|_| NoSecretKey)?;
        key.seal(system_id.as_bytes(), plain).ok_or(NoSecretKey)
    }

    /// Whether a tracker may be at this address, as far as can be told without
    /// asking the name service; that is checked again at every request.
    ///
    /// # Errors
    /// Why not, in words for whoever entered it.
    pub fn check_base_url(&self, base_url: &str) -> Result<Url, String> {
        address::check_base_url(base_url, self.settings.allow_private)
    }

    /// The tracker at the other end of this connection.
    ///
    /// # Errors
    /// When the address is not allowed or the credentials can't be opened.
    pub fn connect(&self, connection: &Connection) -> Result<Box<dyn Tracker + '_>, TrackerError> {
        let base_url = self.check_base_url(&connection.base_url).map_err(TrackerError::NotAllowed)?;
        let credentials = connection
            .credentials
            .as_deref()
            .map(|sealed| self.open(connection.system_id, sealed))
            .transpose()
            .map_err(|_| {
                TrackerError::Refused(
                    "The stored credentials of this external system can't be opened: the secret key is missing or \
                     another one than when they were stored."
                        .to_owned(),
                )
            })?;
        let remote_project = connection.remote_project.clone();
        let (client, kind) = (&self.client, connection.kind);
        Ok(match kind {
            TrackerKind::JiraCloud | TrackerKind::JiraDataCenter => {
                Box::new(jira::Jira { client, base_url, auth: Auth::account(credentials), kind, remote_project })
            }
            TrackerKind::Redmine => {
                let auth = Auth::header("x-redmine-api-key", credentials);
                Box::new(redmine::Redmine { client, base_url, auth, remote_project })
            }
            TrackerKind::GitLab => {
                let project = remote_project.ok_or_else(|| {
                    TrackerError::Misbehaved(
                        "A connection to GitLab needs RemoteProject: the path or number of its project.".to_owned(),
                    )
                })?;
                let auth = Auth::header("private-token", credentials);
                Box::new(gitlab::GitLab { client, base_url, auth, project })
            }
        })
    }

    fn open(&self, system_id: Uuid, sealed: &[u8]) -> Result<Credentials, NoSecretKey> {
        let key = self.settings.secret_key.as_ref().ok_or(NoSecretKey)?;
        let plain = std::iter::once(key)
            .chain(&self.settings.older_secret_keys)
            .find_map(|key| key.open(system_id.as_bytes(), sealed))
            .ok_or(NoSecretKey)?;
        serde_json::from_slice(&plain).map_err(|_| NoSecretKey)
    }
}

/// Longer summaries are cut: a title is a line, not a report.
const SUMMARY_LIMIT: usize = 500;

/// A tracker's text as we store it: without NUL, which PostgreSQL can't hold,
/// and bounded.
fn clean(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(SUMMARY_LIMIT).collect()
}

/// The base URL with these path segments after its own, each escaped.
fn address(base_url: &Url, segments: &[&str]) -> Url {
    let mut url = base_url.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}
