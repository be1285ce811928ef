//! The OpenID provider that people log in at.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use reqwest::Url;
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use crate::oauth::{Bearer, Expectation, Refusal, ResourceServer, verify};
use crate::query_string::query;

/// What this service is at its provider.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    /// Its client id.
    pub client_id: String,
    /// Its secret, if it is a confidential client; shown by `client_secret_basic`.
    pub client_secret: Option<String>,
    /// What it asks for besides `openid`, divided by spaces.
    pub scopes: String,
}

/// A provider where people log in: the issuer of access tokens, and its rules for what
/// scopes and claims permit.
#[derive(Clone)]
pub struct Provider {
    server: Arc<ResourceServer>,
    settings: ProviderSettings,
}

/// An answer of the token endpoint (OpenID Connect Core 1.0, 3.1.3.3).
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    scope: Option<String>,
}

/// A token endpoint's answer may have this many bytes.
const MOST_BYTES: usize = 64 * 1024;

impl Provider {
    /// The issuer of this resource server, with this service as a client.
    #[must_use]
    pub fn new(server: Arc<ResourceServer>, settings: ProviderSettings) -> Self {
        Self { server, settings }
    }

    /// The issuer's name.
    pub(super) fn name(&self) -> &str {
        self.server.issuer().name()
    }

    /// Where a browser goes to log in; `verifier` is the PKCE secret (RFC 7636).
    pub(super) async fn authorization(
        &self,
        redirect: &str,
        state: &str,
        nonce: &str,
        verifier: &str,
    ) -> Result<String, Refusal> {
        let metadata = self.server.issuer().metadata().await.map_err(|_| unknowable())?;
        let endpoint = metadata.authorization_endpoint.as_deref().and_then(|endpoint| Url::parse(endpoint).ok());
        let mut url = endpoint.ok_or_else(unknowable)?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", redirect)
            .append_pair("scope", format!("openid {}", self.settings.scopes).trim())
            .append_pair("state", state)
            .append_pair("nonce", nonce)
            .append_pair("code_challenge", &BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())))
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// Whether an answer to a login comes from this issuer (RFC 9207).
    pub(super) async fn is_answer_of(&self, issuer: Option<&str>) -> Result<bool, Refusal> {
        let metadata = self.server.issuer().metadata().await.map_err(|_| unknowable())?;
        Ok(match issuer {
            Some(issuer) => issuer == self.name(),
            None => !metadata.authorization_response_iss_parameter_supported,
        })
    }

    /// Who logged in, for the code that their browser brought.
    pub(super) async fn bearer(
        &self,
        code: &str,
        redirect: &str,
        nonce: &str,
        verifier: &str,
        now: i64,
    ) -> Result<Bearer, Refusal> {
        let tokens = self.tokens(code, redirect, verifier).await?;
        let settings = self.server.settings();
        let audiences = [self.settings.client_id.clone()];
        let expected = Expectation {
            issuer: &settings.issuer,
            audiences: &audiences,
            algorithms: &settings.algorithms,
            clock_skew: settings.clock_skew,
            types: None,
        };
        let mut claims = verify(&tokens.id_token, self.server.issuer(), &expected, now).await?;
        if claims.text("nonce") != Some(nonce) {
            return Err(Refusal::invalid("The login was started in another browser."));
        }
        if claims.members.contains_key("azp") && claims.text("azp") != Some(&self.settings.client_id) {
            return Err(Refusal::invalid("The login is for another client."));
        }
        if let Some(scope) = tokens.scope {
            claims.members.entry("scope").or_insert_with(|| scope.into());
        }
        Ok(claims.bearer(&settings.rules))
    }

    async fn tokens(&self, code: &str, redirect: &str, verifier: &str) -> Result<Tokens, Refusal> {
        let issuer = self.server.issuer();
        let metadata = issuer.metadata().await.map_err(|_| unknowable())?;
        let endpoint = metadata.token_endpoint.as_deref().ok_or_else(unknowable)?;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect),
            ("code_verifier", verifier),
        ];
        let mut request = issuer.http().post(endpoint).header("accept", "application/json");
        match &self.settings.client_secret {
            None => form.push(("client_id", &self.settings.client_id)),
            // RFC 6749, 2.3.1: both are encoded like form fields first.
            Some(secret) => {
                let encoded = |text: &str| query(&[("", text)]).trim_start_matches('=').to_owned();
                let pair = format!("{}:{}", encoded(&self.settings.client_id), encoded(secret));
                request = request.header("authorization", format!("Basic {}", BASE64_STANDARD.encode(pair)));
            }
        }
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(query(&form));
        let mut response = request.send().await.map_err(|_| unknowable())?;
        if response.status().is_server_error() {
            return Err(unknowable());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| unknowable())? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_BYTES {
                return Err(unknowable());
            }
        }
        if !response.status().is_success() {
            let told = String::from_utf8_lossy(&body).chars().take(300).collect::<String>();
            tracing::warn!(status = response.status().as_u16(), told, "the provider refused a code of a login");
            return Err(Refusal::invalid("The provider did not confirm the login."));
        }
        serde_json::from_slice(&body).map_err(|_| Refusal::invalid("The provider gave no ID token."))
    }
}

fn unknowable() -> Refusal {
    Refusal::Unknowable("The provider does not answer.".to_owned())
}
