//! `Greet`: the least that a task type needs.

use longhaul::schemars::JsonSchema;
use longhaul::serde::{Deserialize, Serialize};
use longhaul::{Outcome, RunContext, RunError, TaskType};

/// Greets someone.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
pub(crate) struct Greet {
    /// Whom.
    #[schemars(length(min = 1, max = 100))]
    name: String,
}

impl TaskType for Greet {
    const NAME: &'static str = "Greet";
    const ID_PREFIX: &'static str = "greet_";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Outcome::with_result(format!("Hello, {}!", self.name))
    }
}
