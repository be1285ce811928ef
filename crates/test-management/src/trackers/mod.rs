//! External defect trackers: one small trait, one file a tracker.

mod answer;
mod auth;
mod client;
mod credentials;
mod error;
mod gitlab;
mod jira;
mod redmine;
mod settings;
mod tracker;

use longhaul_outbound::Address;
use uuid::Uuid;

use self::auth::Auth;
use self::client::Client;
pub use self::credentials::Credentials;
pub use self::error::TrackerError;
pub use self::settings::TrackerSettings;
pub use self::tracker::{Found, Ticket, Tracker, TrackerKind};
pub use longhaul_model::{InvalidSecretKey, SecretKey};

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
#[error("credentials require the host's secret key")]
pub struct NoSecretKey;

impl Trackers {
    /// The way to all trackers, under these settings.
    ///
    /// # Errors
    /// If no HTTP client can be made (TLS roots that can't be read).
    pub fn new(settings: TrackerSettings) -> Result<Self, reqwest::Error> {
        Ok(Self { client: Client::new(&settings)?, settings })
    }

    /// Encrypts credentials for storing, bound to the external system's id, so
    /// that they open for no other one.
    ///
    /// # Errors
    /// If the host has no secret key.
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
    pub(crate) fn check_base_url(&self, base_url: &str) -> Result<Address, String> {
        let address = Address::parse(base_url, self.settings.allow_private)?;
        if address.url().query().is_some() {
            return Err("The address must end with the tracker's path, without ?.".to_owned());
        }
        Ok(address)
    }

    /// The tracker at the other end of this connection.
    ///
    /// # Errors
    /// If the address is not allowed or the credentials can't be opened.
    pub fn connect(&self, connection: &Connection) -> Result<Box<dyn Tracker + '_>, TrackerError> {
        let base_url = self.check_base_url(&connection.base_url).map_err(TrackerError::NotAllowed)?.into_url();
        let credentials = connection
            .credentials
            .as_deref()
            .map(|sealed| self.open(connection.system_id, sealed))
            .transpose()
            .map_err(|_| {
                TrackerError::Refused(
                    "The stored credentials of this external system can't be decrypted: the secret key is missing \
                     or has changed since they were stored."
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
                        "A connection to GitLab requires RemoteProject, the path or number of its project.".to_owned(),
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
