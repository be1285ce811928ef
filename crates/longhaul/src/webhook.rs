//! Webhooks: addresses that receive an HTTP request when tasks complete, for programs with their
//! own task types. Most programs need only
//! [`Program::with_webhooks`](crate::Program::with_webhooks).

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use longhaul_model::Resources;

pub use longhaul_webhooks::{WebhookSettings, Webhooks};

/// The settings of webhooks; the same for API and worker.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Webhooks")]
pub struct WebhookArgs {
    /// Also allow webhooks to loopback and private addresses and without TLS.
    #[arg(long, env = "LONGHAUL_ALLOW_PRIVATE_WEBHOOKS")]
    allow_private_webhooks: bool,
    /// Seconds within which a webhook's receiver must answer. Default: 15.
    #[arg(long, env = "LONGHAUL_WEBHOOK_DEADLINE", value_parser = clap::value_parser!(u64).range(1..=120))]
    webhook_deadline: Option<u64>,
    /// Days without a successful delivery after which a webhook is disabled. Default: 5.
    #[arg(long, env = "LONGHAUL_WEBHOOK_PATIENCE", value_parser = clap::value_parser!(u64).range(1..=365))]
    webhook_patience: Option<u64>,
}

impl WebhookArgs {
    /// Adds the client of webhooks to the resources.
    ///
    /// # Errors
    /// If the system's certificates can't be read.
    pub fn provide(self, resources: Resources) -> anyhow::Result<Resources> {
        let usual = WebhookSettings::default();
        let settings = WebhookSettings {
            allow_private: self.allow_private_webhooks,
            deadline: self.webhook_deadline.map_or(usual.deadline, Duration::from_secs),
            disable_after: self.webhook_patience.map_or(usual.disable_after, |days| Duration::from_secs(days * 86_400)),
        };
        Ok(resources.with(Webhooks::new(settings).context("the HTTP client for webhooks could not be created")?))
    }
}
