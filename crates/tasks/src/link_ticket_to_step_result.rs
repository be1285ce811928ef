//! `LinkTicketToStepResult`: links a ticket to a script assignment's step result.

use longhaul_model::schemars::JsonSchema;
use longhaul_model::{CreateContext, CreateError, Outcome, Progress, RunContext, RunError, TaskType};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::incident::Target;
use crate::linking::Linking;

/// Links a ticket of an external tracker to a script assignment's step result. If the ticket
/// has no incident yet, one is created.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars")]
pub struct LinkTicketToStepResult {
    /// The step result.
    pub step_result_id: Uuid,
    /// What people call the ticket, e.g. `TST-123`.
    #[schemars(length(min = 1, max = 200))]
    pub key: String,
    /// Which of the project's trackers has it, where the key alone does not say.
    #[serde(default)]
    pub external_system_link_id: Option<Uuid>,
}

impl TaskType for LinkTicketToStepResult {
    const NAME: &'static str = "LinkTicketToStepResult";
    const ID_PREFIX: &'static str = "linktickettostepresult_";

    async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        self.linking().create(context).await
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        self.linking().run(context).await
    }
}

impl LinkTicketToStepResult {
    fn linking(&self) -> Linking<'_> {
        let target = Target::StepResult(self.step_result_id);
        Linking { target, key: &self.key, external_system_link_id: self.external_system_link_id }
    }
}
