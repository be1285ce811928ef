//! An OpenID provider: its discovery document and its keys, kept.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::Url;
use reqwest::redirect::Policy;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::Refusal;
use super::key::Key;

/// How an issuer's keys are kept.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Keys older than this are read anew beside the work, so that a key that the
    /// issuer withdraws is not trusted for longer. Default 5 min.
    pub refresh_after: Duration,
    /// While the issuer does not answer, keys are trusted up to this age. Default 1 h.
    pub trust_for: Duration,
    /// The issuer is asked once in this time at most, whatever tokens name. Default 5 s.
    pub ask_every: Duration,
    /// An answer may take this long. Default 5 s.
    pub timeout: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            refresh_after: Duration::from_secs(300),
            trust_for: Duration::from_secs(3600),
            ask_every: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
        }
    }
}

/// A document of the issuer may have this many bytes.
const MOST_BYTES: usize = 512 * 1024;

/// What the discovery document says, as far as it is of use here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Metadata {
    issuer: String,
    jwks_uri: String,
    /// Where people log in.
    pub(crate) authorization_endpoint: Option<String>,
    /// Where a code becomes tokens.
    pub(crate) token_endpoint: Option<String>,
    /// Whether answers to logins name the issuer (RFC 9207).
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
    /// Where people log out.
    pub(crate) end_session_endpoint: Option<String>,
}

/// Why an issuer's documents are of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// An address that must not be used.
    #[error(
        "'{0}' can't be the address of an issuer: https is required, or http on loopback, without query or fragment"
    )]
    Address(String),
    /// It did not answer, or not with a document.
    #[error("{address} sent an unexpected response: {why}")]
    Answer {
        /// What was asked.
        address: String,
        /// What was wrong.
        why: String,
    },
    /// The document is of another issuer.
    #[error("the discovery document names the issuer '{0}' instead of the configured one")]
    OtherIssuer(String),
}

struct Known {
    metadata: Arc<Metadata>,
    keys: Vec<Arc<Key>>,
    read_at: Instant,
}

/// When the issuer was last asked, and what went wrong if it did.
#[derive(Default)]
struct Asked {
    at: Option<Instant>,
    failure: Option<IssuerError>,
}

/// An OpenID provider whose documents are read when they are needed and kept.
pub struct Issuer {
    name: String,
    patience: Patience,
    http: reqwest::Client,
    known: RwLock<Option<Known>>,
    asked: Mutex<Asked>,
}

impl Issuer {
    /// The issuer of this name, which is not asked yet.
    ///
    /// # Errors
    /// If the name is no safe address.
    pub fn new(name: &str, patience: Patience) -> Result<Self, IssuerError> {
        let address = safe(name)?;
        if address.query().is_some() {
            return Err(IssuerError::Address(name.to_owned()));
        }
        // What is configured is asked, not what it leads to.
        let mut http = longhaul_outbound::http_client().redirect(Policy::none()).timeout(patience.timeout);
        if is_loopback(&address) {
            // A proxy of the environment has no way to this machine's loopback.
            http = http.no_proxy();
        }
        let http =
            http.build().map_err(|error| IssuerError::Answer { address: name.to_owned(), why: error.to_string() })?;
        Ok(Self { name: name.to_owned(), patience, http, known: RwLock::default(), asked: Mutex::default() })
    }

    /// The issuer's name, as tokens say it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A client for the issuer's other addresses.
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Reads discovery document and keys now, unless that was just tried.
    ///
    /// # Errors
    /// Why they could not be read.
    pub async fn refresh(self: &Arc<Self>) -> Result<(), IssuerError> {
        // A task of its own: a client that goes away does not end it for others.
        let issuer = Arc::clone(self);
        let asking = tokio::spawn(async move {
            let mut asked = issuer.asked.lock().await;
            if asked.at.is_some_and(|at| at.elapsed() < issuer.patience.ask_every) {
                return asked.failure.clone().map_or(Ok(()), Err);
            }
            let result = issuer.read().await;
            asked.at = Some(Instant::now());
            match result {
                Ok(known) => {
                    if asked.failure.take().is_some() {
                        tracing::info!(issuer = issuer.name, "the issuer of access tokens answers again");
                    }
                    *issuer.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known);
                    Ok(())
                }
                Err(error) => {
                    tracing::warn!(issuer = issuer.name, %error, "the keys of access tokens could not be read");
                    asked.failure = Some(error.clone());
                    Err(error)
                }
            }
        });
        asking.await.unwrap_or_else(|error| {
            Err(IssuerError::Answer { address: self.name.clone(), why: format!("the request failed: {error}") })
        })
    }

    /// What the discovery document says.
    ///
    /// # Errors
    /// If it was never read and can't be now.
    pub(crate) async fn metadata(self: &Arc<Self>) -> Result<Arc<Metadata>, IssuerError> {
        if let Some(metadata) = self.kept(|known| Arc::clone(&known.metadata)) {
            return Ok(metadata);
        }
        self.refresh().await?;
        let missing = || IssuerError::Answer { address: self.name.clone(), why: "nothing is known".to_owned() };
        self.kept(|known| Arc::clone(&known.metadata)).ok_or_else(missing)
    }

    fn kept<T>(&self, look: impl FnOnce(&Known) -> T) -> Option<T> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }

    /// The keys that a token's header may mean, and how old they are.
    fn meant(&self, id: Option<&str>, algorithm: Algorithm) -> (Vec<Arc<Key>>, Duration) {
        let found = self.kept(|known| {
            let keys = known.keys.iter().filter(|key| key.is_meant(id, algorithm)).map(Arc::clone).collect();
            (keys, known.read_at.elapsed())
        });
        found.unwrap_or_default()
    }

    /// The keys that a token's header may mean; at least one.
    pub(super) async fn keys(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<DecodingKey>, Refusal> {
        let decoding = |keys: Vec<Arc<Key>>| keys.iter().map(|key| key.decoding.clone()).collect();
        let (keys, age) = self.meant(id, algorithm);
        if !keys.is_empty() && age < self.patience.trust_for {
            if age >= self.patience.refresh_after {
                let issuer = Arc::clone(self);
                // Its failure is in the log, and the kept keys go on for now.
                tokio::spawn(async move { issuer.refresh().await.is_ok() });
            }
            return Ok(decoding(keys));
        }
        let asked = self.refresh().await;
        let (keys, age) = self.meant(id, algorithm);
        match asked {
            Ok(()) if keys.is_empty() => Err(Refusal::invalid("The issuer has no such key.")),
            Ok(()) => Ok(decoding(keys)),
            Err(_) if !keys.is_empty() && age < self.patience.trust_for => Ok(decoding(keys)),
            Err(_) => Err(Refusal::Unknowable(
                "The issuer of access tokens does not answer, so this token can't be verified now.".to_owned(),
            )),
        }
    }

    async fn read(&self) -> Result<Known, IssuerError> {
        // OpenID Connect Discovery 1.0, 4.1.
        let address = format!("{}/.well-known/openid-configuration", self.name.trim_end_matches('/'));
        let document = self.document(&address).await?;
        let unfit = |address: &str, why: String| IssuerError::Answer { address: address.to_owned(), why };
        let metadata: Metadata =
            serde_json::from_value(document).map_err(|error| unfit(&address, error.to_string()))?;
        if metadata.issuer != self.name {
            return Err(IssuerError::OtherIssuer(metadata.issuer.chars().take(200).collect()));
        }
        for address in [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.end_session_endpoint] {
            address.as_deref().map(safe).transpose()?;
        }
        safe(&metadata.jwks_uri)?;
        let set = self.document(&metadata.jwks_uri).await?;
        let keys = Key::of_set(&set).ok_or_else(|| unfit(&metadata.jwks_uri, "it is not a set of keys".to_owned()))?;
        let keys = keys.into_iter().map(Arc::new).collect();
        Ok(Known { metadata: Arc::new(metadata), keys, read_at: Instant::now() })
    }

    async fn document(&self, address: &str) -> Result<Value, IssuerError> {
        let unfit = |why: String| IssuerError::Answer { address: address.to_owned(), why };
        let failed = |error: reqwest::Error| unfit(error.without_url().to_string());
        let mut response = self.http.get(address).header("accept", "application/json").send().await.map_err(failed)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(unfit(format!("status {}", response.status().as_u16())));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_BYTES {
                return Err(unfit("the document is too large".to_owned()));
            }
        }
        serde_json::from_slice(&body).map_err(|error| unfit(error.to_string()))
    }
}

/// An address that may be asked: what comes over plain http could be anyone's,
/// except from this machine.
fn safe(address: &str) -> Result<Url, IssuerError> {
    let wrong = || IssuerError::Address(address.chars().take(200).collect());
    let url = Url::parse(address).map_err(|_| wrong())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if plain && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url))) {
        Ok(url)
    } else {
        Err(wrong())
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Issuer, Patience};

    #[test]
    fn only_safe_addresses_can_be_issuers() {
        for good in
            ["https://id.example.org", "https://id.example.org/realms/a/", "http://127.0.0.1:9/", "http://[::1]:9"]
        {
            assert!(Issuer::new(good, Patience::default()).is_ok(), "{good}");
        }
        let bad = [
            "",
            "id.example.org",
            "http://id.example.org",
            "https://a:b@id.example.org",
            "https://id.example.org/?a",
            "https://id.example.org/#a",
            "file:///etc/passwd",
            "http://127.0.0.1.example.org",
        ];
        for bad in bad {
            assert!(Issuer::new(bad, Patience::default()).is_err(), "{bad}");
        }
    }
}
