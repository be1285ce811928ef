//! Access tokens and logins of an OpenID provider.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use longhaul_api::oauth::{ALGORITHMS, Algorithm, OauthSettings, Patience, ResourceServer, Rule, Rules};
use longhaul_api::session::{Provider, ProviderSettings};

/// The OpenID provider whose access tokens are accepted, and their permissions.
#[derive(Clone, Default, Args)]
pub struct OidcSettings {
    /// Accept access tokens (JWTs) of this issuer; tokens must carry its address in `iss`.
    #[arg(long, env = "LONGHAUL_OIDC_ISSUER", requires = "oidc_audience")]
    pub oidc_issuer: Option<String>,
    /// An audience that tokens must contain in `aud`. May be repeated.
    #[arg(long, env = "LONGHAUL_OIDC_AUDIENCE", value_delimiter = ',')]
    pub oidc_audience: Vec<String>,
    /// An accepted signature algorithm: RS256, PS256, ES256, ES384 or EdDSA. All by default.
    #[arg(long, env = "LONGHAUL_OIDC_ALGORITHMS", value_delimiter = ',', value_parser = algorithm)]
    pub oidc_algorithm: Vec<Algorithm>,
    /// The tolerated difference between the issuer's clock and the database's, in seconds.
    #[arg(long, env = "LONGHAUL_OIDC_CLOCK_SKEW", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=60))]
    pub oidc_clock_skew: u64,
    /// Accept tokens without the access token type in their header (`typ` is not `at+jwt`).
    #[arg(long, env = "LONGHAUL_OIDC_UNTYPED")]
    pub oidc_untyped: bool,
    /// A permission for a scope or claim: scope:NAME=PERMISSION or claim:NAME:VALUE=PERMISSION.
    /// May be repeated.
    #[arg(long, env = "LONGHAUL_GRANTS", value_delimiter = ';')]
    pub grant: Vec<Rule>,
    /// A claim that lists permissions directly.
    #[arg(long, env = "LONGHAUL_OIDC_PERMISSIONS_CLAIM")]
    pub oidc_permissions_claim: Option<String>,
    /// The client id of this service at the provider. Enables login through the provider.
    #[arg(long, env = "LONGHAUL_OIDC_CLIENT_ID", requires = "oidc_issuer")]
    pub oidc_client_id: Option<String>,
    /// The client's secret, if it has one. Set it in the environment rather than on the command line.
    #[arg(long, env = "LONGHAUL_OIDC_CLIENT_SECRET", hide_env_values = true, requires = "oidc_client_id")]
    pub oidc_client_secret: Option<String>,
    /// The scopes that a login requests in addition to `openid`, separated by spaces.
    #[arg(long, env = "LONGHAUL_OIDC_SCOPES", default_value = "profile")]
    pub oidc_scopes: String,
}

impl std::fmt::Debug for OidcSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { oidc_issuer, oidc_audience, oidc_client_id, grant, .. } = self;
        write!(f, "OidcSettings({oidc_issuer:?}, {oidc_audience:?}, {oidc_client_id:?}, {grant:?}, …)")
    }
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    let found = ALGORITHMS.into_iter().find(|algorithm| format!("{algorithm:?}") == text);
    found.ok_or_else(|| format!("one of {ALGORITHMS:?} is expected"))
}

impl OidcSettings {
    /// What checks tokens, if there is an issuer.
    pub(crate) fn resource_server(&self) -> anyhow::Result<Option<Arc<ResourceServer>>> {
        let Some(issuer) = &self.oidc_issuer else {
            ensure!(self.grant.is_empty(), "--grant maps tokens to permissions and requires --oidc-issuer");
            return Ok(None);
        };
        let algorithms = if self.oidc_algorithm.is_empty() { ALGORITHMS.to_vec() } else { self.oidc_algorithm.clone() };
        let server = ResourceServer::new(OauthSettings {
            issuer: issuer.clone(),
            audiences: self.oidc_audience.clone(),
            algorithms,
            clock_skew: Duration::from_secs(self.oidc_clock_skew),
            typed: !self.oidc_untyped,
            rules: Rules { rules: self.grant.clone(), permissions_claim: self.oidc_permissions_claim.clone() },
            patience: Patience::default(),
        });
        Ok(Some(Arc::new(server.context("access tokens can't be accepted")?)))
    }

    /// Where people log in, if this service is a client of the issuer.
    pub(crate) fn provider(&self, server: &Arc<ResourceServer>) -> Option<Provider> {
        let settings = ProviderSettings {
            client_id: self.oidc_client_id.clone()?,
            client_secret: self.oidc_client_secret.clone(),
            scopes: self.oidc_scopes.clone(),
        };
        Some(Provider::new(Arc::clone(server), settings))
    }
}
