//! The host's keys for what is secret at rest.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use anyhow::Context;
use clap::Args;
use longhaul_model::{Keyring, Resources, SecretKey};

/// A key as it was given: read later, because the parser of the command line
/// would repeat a bad one in its complaint.
#[derive(Clone)]
pub(crate) struct SecretText(String);

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

/// The keys that encrypt secrets in the database; the same for API and worker.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Secrets")]
pub(crate) struct SecretArgs {
    /// The key that encrypts secrets in the database (secret parameters, trackers' credentials): 64 hexadecimal digits,
    /// e.g. from `openssl rand -hex 32`. Use the variable rather than the flag, which other users of this machine can
    /// see.
    #[arg(long, env = "LONGHAUL_SECRET_KEY", hide_env_values = true)]
    secret_key: Option<SecretText>,
    /// Previous secret keys, separated by commas. They decrypt only.
    #[arg(long, env = "LONGHAUL_OLDER_SECRET_KEYS", hide_env_values = true, value_delimiter = ',')]
    older_secret_keys: Vec<SecretText>,
}

impl SecretArgs {
    pub(crate) fn provide(self, resources: Resources) -> anyhow::Result<Resources> {
        let Some(current) = self.secret_key else { return Ok(resources) };
        let current = SecretKey::parse(&current.0).context("LONGHAUL_SECRET_KEY is invalid")?;
        let older = self.older_secret_keys.iter().map(|text| SecretKey::parse(&text.0));
        let older = older.collect::<Result<_, _>>().context("LONGHAUL_OLDER_SECRET_KEYS is invalid")?;
        Ok(resources.with(Keyring::new(current, older)))
    }
}
