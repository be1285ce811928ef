//! What can be set of the way to external trackers.

use anyhow::Context;
use clap::Args;
use longhaul::{Keyring, Resources};
use longhaul_test_management::trackers::{TrackerSettings, Trackers};

/// How task types reach external trackers; the same for API and worker.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TrackerArgs {
    /// Also allow trackers at loopback and private addresses and without TLS.
    #[arg(long, env = "LONGHAUL_ALLOW_PRIVATE_TRACKERS")]
    allow_private_trackers: bool,
}

impl TrackerArgs {
    /// Gives the task types a way to trackers.
    pub(crate) fn provide(self, resources: Resources) -> anyhow::Result<Resources> {
        let keyring = resources.get::<Keyring>();
        let settings = TrackerSettings {
            secret_key: keyring.map(|keyring| keyring.current().clone()),
            older_secret_keys: keyring.map(|keyring| keyring.older().to_vec()).unwrap_or_default(),
            allow_private: self.allow_private_trackers,
            ..TrackerSettings::default()
        };
        let trackers = Trackers::new(settings).context("the HTTP client for trackers could not be created")?;
        Ok(resources.with(trackers))
    }
}
