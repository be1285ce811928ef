//! Who may call the API.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use longhaul_api::Gate;
use longhaul_api::access::secret::SHORTEST_SERVER_SECRET;
use longhaul_api::access::{IpNet, Keys};
use longhaul_api::oauth::Tokens;
use longhaul_api::session::{Login, SessionSettings};
use sqlx::PgPool;

use crate::limits::LimitSettings;
use crate::oidc::OidcSettings;

/// Who may call an API, and how it is reached. By default everyone who reaches it may
/// do everything, and only this machine reaches it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Access")]
pub struct AccessSettings {
    /// Callers must say who they are: by an API key (see `key create`). An issuer of access
    /// tokens has the same effect.
    #[arg(long, env = "LONGHAUL_AUTHENTICATE")]
    pub authenticate: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would take the place of the commands' own help")]
    pub secret: ServerSecret,
    /// A proxy in front, by address or network, e.g. 10.0.0.0/8: what it says in
    /// X-Forwarded-For is believed. May be given several times.
    #[arg(long = "trusted-proxy", env = "LONGHAUL_TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,
    /// Listen where others can reach it although everyone may do everything.
    #[arg(long, env = "LONGHAUL_OPEN_TO_ALL")]
    pub open_to_all: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would take the place of the commands' own help")]
    pub oidc: OidcSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would take the place of the commands' own help")]
    pub limits: LimitSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would take the place of the commands' own help")]
    pub sessions: SessionLifetimes,
}

/// How long people who logged in stay so.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sessions")]
pub struct SessionLifetimes {
    /// Seconds without a request after which a session ends.
    #[arg(long, env = "LONGHAUL_SESSION_IDLE", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(120..=2_592_000))]
    pub session_idle: u64,
    /// Seconds after the login at which a session ends, however it is used.
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
    /// What API keys are hashed with, 32 characters or more; the same for every `serve`
    /// and `key create`. Better given by the environment than on a command line.
    #[arg(long, env = "LONGHAUL_SECRET", hide_env_values = true, value_parser = server_secret)]
    pub secret: Option<String>,
}

impl std::fmt::Debug for ServerSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.secret.is_some() { "ServerSecret(…)" } else { "ServerSecret(none)" })
    }
}

fn server_secret(text: &str) -> Result<String, String> {
    if text.len() >= SHORTEST_SERVER_SECRET {
        Ok(text.to_owned())
    } else {
        Err(format!("{SHORTEST_SERVER_SECRET} characters or more are expected, e.g. of `openssl rand -base64 32`"))
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let one = || text.parse().map(|address: std::net::IpAddr| IpNet::from(address));
    text.parse().or_else(|_| one()).map_err(|_| "an address or a network such as 10.0.0.0/8 is expected".to_owned())
}

impl AccessSettings {
    /// Whether callers must say who they are.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.authenticate || self.oidc.oidc_issuer.is_some()
    }

    /// The gate that callers pass, and the login for people, if callers must say who they
    /// are.
    pub(crate) fn gate(&self, pool: &PgPool) -> anyhow::Result<(Gate, Option<Login>)> {
        let server = self.oidc.resource_server()?;
        if !self.is_closed() {
            return Ok((Gate::default(), None));
        }
        let keys = || Keys::new(pool.clone(), self.secret.secret.as_deref());
        let mut gate = Gate::default().with(keys());
        let mut provider = None;
        if let Some(server) = server {
            provider = self.oidc.provider(&server);
            gate = gate.with(Tokens::new(Arc::clone(&server)));
            // So that a wrong address is in the log from the start, and the first token
            // does not wait.
            tokio::spawn(async move { server.issuer().refresh().await.is_ok() });
        }
        Ok((gate, Some(Login::new(pool.clone(), self.sessions.settings(), Some(keys()), provider))))
    }

    /// Refuses an address that others can reach unless something keeps strangers out.
    pub(crate) fn check(&self, address: SocketAddr) -> anyhow::Result<()> {
        let reachable = !address.ip().is_loopback();
        if reachable && !self.is_closed() && !self.open_to_all {
            bail!(
                "{address} can be reached by others, and everyone who reaches it may do everything. Let callers say \
                 who they are (--authenticate), listen on 127.0.0.1, or say --open-to-all if something in front of it \
                 keeps strangers out"
            );
        }
        if reachable && self.is_closed() && self.trusted_proxies.is_empty() {
            tracing::warn!(
                "{address} can be reached by others without TLS, and keys can be read on the way: let a proxy in front \
                 end TLS, and name it by --trusted-proxy"
            );
        }
        Ok(())
    }
}
