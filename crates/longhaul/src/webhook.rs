//! Webhooks: addresses that are told by HTTP when tasks end, for programs with task types
//! of their own. [`Program::with_webhooks`](crate::Program::with_webhooks) is all that most
//! need of it.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use longhaul_model::Resources;

pub use longhaul_tasks::webhook::{WebhookSettings, Webhooks};

/// How webhooks are sent; the same for API and worker.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Webhooks")]
pub struct WebhookArgs {
    /// Send webhooks to loopback and private addresses and without TLS, too.
    #[arg(long, env = "LONGHAUL_ALLOW_PRIVATE_WEBHOOKS")]
    allow_private_webhooks: bool,
    /// Seconds in which a webhook's receiver must answer; 15 by default.
    #[arg(long, env = "LONGHAUL_WEBHOOK_DEADLINE", value_parser = clap::value_parser!(u64).range(1..=120))]
    webhook_deadline: Option<u64>,
    /// Days after which a webhook is disabled to which nothing could be delivered; 5 by default.
    #[arg(long, env = "LONGHAUL_WEBHOOK_PATIENCE", value_parser = clap::value_parser!(u64).range(1..=365))]
    webhook_patience: Option<u64>,
}

impl WebhookArgs {
    /// Gives the task types a way to receivers.
    ///
    /// # Errors
    /// When the system's certificates can't be read.
    pub fn provide(self, resources: Resources) -> anyhow::Result<Resources> {
        let usual = WebhookSettings::default();
        let settings = WebhookSettings {
            allow_private: self.allow_private_webhooks,
            deadline: self.webhook_deadline.map_or(usual.deadline, Duration::from_secs),
            disable_after: self.webhook_patience.map_or(usual.disable_after, |days| Duration::from_secs(days * 86_400)),
        };
        Ok(resources.with(Webhooks::new(settings).context("no HTTP client for webhooks could be made")?))
    }
}
