//! What can be set of the way to external trackers.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use anyhow::Context;
use clap::Args;
use longhaul::Resources;
use longhaul_tasks::trackers::{SecretKey, TrackerSettings, Trackers};

/// A key as it was given: read later, because the parser of the command line
/// would repeat a bad one in its complaint.
#[derive(Clone)]
struct SecretText(String);

impl FromStr for SecretText {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

/// How task types reach external trackers; the same for API and worker.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TrackerArgs {
    /// Seals trackers' credentials in the database: 64 hexadecimal digits, e.g. from `openssl rand -hex 32`. Use the
    /// variable rather than the flag, which others on this machine can see.
    #[arg(long, env = "LONGHAUL_SECRET_KEY", hide_env_values = true)]
    secret_key: Option<SecretText>,
    /// Talk to trackers at loopback and private addresses and without TLS, too.
    #[arg(long, env = "LONGHAUL_ALLOW_PRIVATE_TRACKERS")]
    allow_private_trackers: bool,
}

impl TrackerArgs {
    /// Gives the task types a way to trackers.
    pub(crate) fn provide(self, resources: Resources) -> anyhow::Result<Resources> {
        let secret_key = self.secret_key.map(|text| SecretKey::parse(&text.0)).transpose();
        let settings = TrackerSettings {
            secret_key: secret_key.context("LONGHAUL_SECRET_KEY can't be used")?,
            allow_private: self.allow_private_trackers,
            ..TrackerSettings::default()
        };
        let trackers = Trackers::new(settings).context("no HTTP client for trackers could be made")?;
        Ok(resources.with(trackers))
    }
}
