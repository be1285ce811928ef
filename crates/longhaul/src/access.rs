//! Who may call the API.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use longhaul_api::Authenticators;
use longhaul_api::access::secret::SHORTEST_SERVER_SECRET;
use longhaul_api::access::{IpNet, Keys};
use longhaul_api::oauth::Tokens;
use longhaul_api::session::{Login, SessionSettings};
use sqlx::PgPool;

use crate::limits::LimitSettings;
use crate::oidc::OidcSettings;

/// Who may call an API, and at which address. By default every caller may do everything, and the
/// API listens on this machine only.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Access")]
pub struct AccessSettings {
    /// Require callers to authenticate with an API key (see `key create`). Configuring an OpenID
    /// issuer has the same effect.
    #[arg(long, env = "LONGHAUL_AUTHENTICATE")]
    pub authenticate: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the commands' own help")]
    pub secret: ServerSecret,
    /// A trusted proxy in front, as an address or network, e.g. 10.0.0.0/8. Its X-Forwarded-For
    /// header is trusted. May be repeated.
    #[arg(long = "trusted-proxy", env = "LONGHAUL_TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,
    /// A host name that clients may use for the API, in addition to that of --base-url, localhost
    /// and IP addresses. May be repeated.
    #[arg(long = "allowed-host", env = "LONGHAUL_ALLOWED_HOSTS", value_delimiter = ',', value_parser = host_name)]
    pub allowed_hosts: Vec<String>,
    /// Listen on addresses that others can reach even without authentication.
    #[arg(long, env = "LONGHAUL_OPEN_TO_ALL")]
    pub open_to_all: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the commands' own help")]
    pub oidc: OidcSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the commands' own help")]
    pub limits: LimitSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would replace the commands' own help")]
    pub sessions: SessionLifetimes,
}

/// How long a login lasts.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sessions")]
pub struct SessionLifetimes {
    /// Seconds of inactivity after which a session ends.
    #[arg(long, env = "LONGHAUL_SESSION_IDLE", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(120..=2_592_000))]
    pub session_idle: u64,
    /// Seconds after the login at which a session ends, regardless of use.
    #[arg(long, env = "LONGHAUL_SESSION_WHOLE", default_value_t = 43_200, value_parser = clap::value_parser!(u64).range(120..=2_592_000))]
    pub session_whole: u64,
}

impl Default for SessionLifetimes {
    fn default() -> Self {
        Self { session_idle: 3600, session_whole: 43_200 }
    }
}

impl SessionLifetimes {
    fn settings(&self) -> SessionSettings {
        SessionSettings { idle: Duration::from_secs(self.session_idle), whole: Duration::from_secs(self.session_whole) }
    }
}

/// What API keys are hashed with.
#[derive(Clone, Default, Args)]
pub struct ServerSecret {
    /// The secret that keys the hashes of API keys and sessions, at least 32 characters; the same
    /// for every `serve` and `key create`. Set it in the environment rather than on the command line.
    // Read later: the parser of the command line would repeat a bad one in its complaint.
    #[arg(long, env = "LONGHAUL_SECRET", hide_env_values = true)]
    pub secret: Option<String>,
}

impl std::fmt::Debug for ServerSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.secret.is_some() { "ServerSecret(…)" } else { "ServerSecret(none)" })
    }
}

impl ServerSecret {
    /// The secret, if one was given.
    ///
    /// # Errors
    /// If it is too short. The message does not repeat it.
    pub(crate) fn get(&self) -> anyhow::Result<Option<&str>> {
        match self.secret.as_deref() {
            Some(secret) if secret.len() < SHORTEST_SERVER_SECRET => bail!(
                "LONGHAUL_SECRET is too short: it must have at least {SHORTEST_SERVER_SECRET} characters, e.g. from \
                 `openssl rand -base64 32`"
            ),
            secret => Ok(secret),
        }
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let one = || text.parse().map(|address: std::net::IpAddr| IpNet::from(address));
    text.parse().or_else(|_| one()).map_err(|_| "an address or a network such as 10.0.0.0/8 is expected".to_owned())
}

fn host_name(text: &str) -> Result<String, String> {
    let is_name =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    if !text.is_empty() && is_name(text) {
        Ok(text.trim_end_matches('.').to_owned())
    } else {
        Err("a name without scheme and port is expected, such as longhaul.example.internal".to_owned())
    }
}

impl AccessSettings {
    /// Whether callers must authenticate.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.authenticate || self.oidc.oidc_issuer.is_some()
    }

    /// The authenticators and the login, if callers must authenticate.
    pub(crate) fn authenticators(&self, pool: &PgPool) -> anyhow::Result<(Authenticators, Option<Login>)> {
        let server = self.oidc.resource_server()?;
        if !self.is_closed() {
            return Ok((Authenticators::default(), None));
        }
        let secret = self.secret.get()?;
        let keys = || Keys::new(pool.clone(), secret);
        let mut authenticators = Authenticators::default().with(keys());
        let mut provider = None;
        if let Some(server) = server {
            provider = self.oidc.provider(&server);
            authenticators = authenticators.with(Tokens::new(Arc::clone(&server)));
            // So that a wrong address is in the log from the start, and the first token
            // does not wait.
            tokio::spawn(async move { server.issuer().refresh().await.is_ok() });
        }
        Ok((authenticators, Some(Login::new(pool.clone(), self.sessions.settings(), Some(keys()), provider))))
    }

    /// Refuses an address that other hosts can reach without authentication.
    pub(crate) fn check(&self, address: SocketAddr) -> anyhow::Result<()> {
        self.secret.get()?;
        let reachable = !address.ip().is_loopback();
        if reachable && !self.is_closed() && !self.open_to_all {
            bail!(
                "other hosts can reach {address}, and without authentication every caller may do everything. \
                 Require authentication (--authenticate), listen on 127.0.0.1, or pass --open-to-all if something \
                 in front of the API restricts access"
            );
        }
        if reachable && self.is_closed() && self.trusted_proxies.is_empty() {
            tracing::warn!(
                "other hosts can reach {address} without TLS, and keys can be read on the network: let a proxy in \
                 front terminate TLS, and name it with --trusted-proxy"
            );
        }
        Ok(())
    }
}
