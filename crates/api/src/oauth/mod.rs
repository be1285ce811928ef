//! The API as an OAuth 2.0 resource server: access tokens that are JWTs of one
//! configured issuer (RFC 6750, RFC 9068, RFC 8725).
//!
//! [`ResourceServer::check`] says who a token speaks for and what they may do.
//! The issuer's keys come from its OpenID Connect Discovery document, are kept, and
//! are read anew when a token names a key that is not known.

mod authenticator;
mod issuer;
mod key;
mod rule;
mod signature;
mod token;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use longhaul_model::Permission;

pub use authenticator::Tokens;
pub use issuer::{Issuer, IssuerError, Patience};
pub use jsonwebtoken::Algorithm;
pub use rule::{Rule, Rules};
pub(crate) use token::{Expectation, verify};

/// Which access tokens are taken.
#[derive(Debug, Clone)]
pub struct OauthSettings {
    /// The issuer, exactly as its tokens name it in `iss`; `https`, or `http` on
    /// loopback.
    pub issuer: String,
    /// A token's `aud` must name one of them.
    pub audiences: Vec<String>,
    /// Signatures that are taken; asymmetric ones only.
    pub algorithms: Vec<Algorithm>,
    /// By how much the issuer's clock may differ from the database's; 60 s at most.
    pub clock_skew: Duration,
    /// Whether `typ` must be `at+jwt` (RFC 9068, 2.1). Issuers that do not write it
    /// need `false`; their ID tokens are then told apart by their audience only.
    pub typed: bool,
    /// What scopes and claims permit.
    pub rules: Rules,
    /// How the issuer's keys are kept.
    pub patience: Patience,
}

/// Signatures that are taken unless configuration names others.
pub const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];

/// The most that clocks may differ by.
pub const MOST_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not good, whoever asks and whenever: 401 with `invalid_token`. What is
    /// wrong, in visible ASCII without quotes, fit for `error_description`.
    #[error("{0}")]
    Invalid(String),
    /// Whether it is good can't be known now, since the issuer's keys are not: 503.
    #[error("{0}")]
    Unknowable(String),
}

impl Refusal {
    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid(why.into())
    }
}

/// Whom an access token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The token's `sub`: unique at its issuer.
    pub subject: String,
    /// What to call them: `preferred_username`, `name`, `email`, else `sub`.
    pub name: String,
    /// What its scopes and claims permit.
    pub permissions: BTreeSet<Permission>,
    /// When the token ends, in seconds since 1970.
    pub expires_at: i64,
}

/// Checks access tokens.
pub struct ResourceServer {
    settings: OauthSettings,
    issuer: Arc<Issuer>,
}

/// Why tokens can't be checked with these settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The issuer's address can't be used.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// No audience was given.
    #[error("an audience is required: without one, tokens for other services of the issuer would be accepted")]
    NoAudience,
    /// An algorithm that proves nothing here.
    #[error("{0:?} is not an accepted asymmetric algorithm; use RS256, PS256, ES256, ES384 or EdDSA")]
    Algorithm(Algorithm),
    /// The clocks may not differ that much.
    #[error("the clock skew may be at most 60 s")]
    ClockSkew,
}

impl ResourceServer {
    /// A resource server for tokens of this issuer, which is asked when its keys are
    /// first needed.
    ///
    /// # Errors
    /// If settings are unsafe or make no sense.
    pub fn new(settings: OauthSettings) -> Result<Self, SettingsError> {
        if settings.audiences.is_empty() || settings.audiences.iter().any(String::is_empty) {
            return Err(SettingsError::NoAudience);
        }
        if let Some(other) = settings.algorithms.iter().find(|algorithm| !ALGORITHMS.contains(algorithm)) {
            return Err(SettingsError::Algorithm(*other));
        }
        if settings.clock_skew > MOST_CLOCK_SKEW {
            return Err(SettingsError::ClockSkew);
        }
        let issuer = Arc::new(Issuer::new(&settings.issuer, settings.patience)?);
        Ok(Self { settings, issuer })
    }

    /// The issuer, whose keys are shared with whoever checks other tokens of it.
    #[must_use]
    pub fn issuer(&self) -> &Arc<Issuer> {
        &self.issuer
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &OauthSettings {
        &self.settings
    }

    /// Who bears this token, at this time (seconds since 1970).
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn check(&self, token: &str, now: i64) -> Result<Bearer, Refusal> {
        let expected = Expectation {
            issuer: &self.settings.issuer,
            audiences: &self.settings.audiences,
            algorithms: &self.settings.algorithms,
            clock_skew: self.settings.clock_skew,
            types: if self.settings.typed { Some(&["at+jwt"]) } else { None },
        };
        let claims = verify(token, &self.issuer, &expected, now).await?;
        Ok(claims.bearer(&self.settings.rules))
    }
}
