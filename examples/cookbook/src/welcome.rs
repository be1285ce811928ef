//! Something that happens to a customer once, however often it is asked for.

use std::time::Duration;

use longhaul::schemars::JsonSchema;
use longhaul::serde::{Deserialize, Serialize};
use longhaul::{Outcome, RunContext, RunError, TaskType};

/// Welcomes a customer.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
pub(crate) struct WelcomeCustomer {
    customer: i64,
    /// What the mail says first.
    #[serde(default)]
    greeting: String,
}

impl TaskType for WelcomeCustomer {
    const NAME: &'static str = "WelcomeCustomer";
    const ID_PREFIX: &'static str = "welcomecustomer_";
    // Not only while it is open, but for a year. Without it: until the task completes.
    const UNIQUE_FOR: Option<Duration> = Some(Duration::from_secs(365 * 24 * 3600));

    /// The greeting does not matter.
    fn unique_key(&self) -> Option<String> {
        Some(self.customer.to_string())
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        context.log().info(format_args!("{} welcomes customer {}", self.greeting, self.customer));
        Ok(Outcome::done())
    }
}
