//! `LinkTicketToStepResult`: links a ticket to a script assignment's step result.

use longhaul_model::schemars::JsonSchema;
use longhaul_model::{
    CreateContext, CreateError, Outcome, ProblemKind, Progress, RunContext, RunError, TaskAddress, TaskType,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::incident::Target;
use crate::linking::Linking;
use crate::problem::{
    ALREADY_LINKED, AMBIGUOUS_TICKET_KEY, TICKET_NOT_FOUND, TRACKER_MISBEHAVED, TRACKER_NOT_ALLOWED, TRACKER_REFUSED,
    UNKNOWN_EXTERNAL_SYSTEM_LINK, UNKNOWN_STEP_RESULT,
};

/// Links a ticket of an external tracker to a script assignment's step result. If the ticket
/// has no incident yet, one is created.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars", example = serde_json::json!({"StepResultId": "ad3c8f9a-6959-4226-9b47-a0a601595de4", "Key": "TST-123"}), example = serde_json::json!({"StepResultId": "ad3c8f9a-6959-4226-9b47-a0a601595de4", "ExternalSystemLinkId": "d8e4c6a3-5287-4b38-82f8-7791adcb6dc9", "Key": "TST-123"}))]
pub struct LinkTicketToStepResult {
    /// The step result.
    pub step_result_id: Uuid,
    /// The ticket's key, e.g. `TST-123`.
    #[schemars(length(min = 1, max = 200))]
    pub key: String,
    /// The project's connection to the ticket's tracker, if several trackers have the key.
    #[serde(default)]
    pub external_system_link_id: Option<Uuid>,
}

impl TaskType for LinkTicketToStepResult {
    const NAME: &'static str = "LinkTicketToStepResult";
    const ID_PREFIX: &'static str = "linktickettostepresult_";
    const LOCATION: TaskAddress = TaskAddress::Api;
    const PROBLEMS: &'static [ProblemKind] = &[
        UNKNOWN_STEP_RESULT,
        UNKNOWN_EXTERNAL_SYSTEM_LINK,
        TICKET_NOT_FOUND,
        AMBIGUOUS_TICKET_KEY,
        ALREADY_LINKED,
        TRACKER_REFUSED,
        TRACKER_NOT_ALLOWED,
        TRACKER_MISBEHAVED,
    ];

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
