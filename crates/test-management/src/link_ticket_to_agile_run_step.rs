//! `LinkTicketToAgileRunStep`: links a ticket to a step of an agile run.

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
    UNKNOWN_AGILE_RUN, UNKNOWN_AGILE_RUN_STEP, UNKNOWN_EXTERNAL_SYSTEM_LINK,
};

/// Links a ticket of an external tracker to a step of an agile run. If the ticket
/// has no incident yet, one is created.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars", example = serde_json::json!({"AgileRunId": "161e7eed-2cd7-45cc-97d9-a00f010e3aa4", "StepId": "79853241-febd-4f5d-93bf-4d380d024206", "Key": "TST-123"}))]
pub struct LinkTicketToAgileRunStep {
    /// The agile run.
    pub agile_run_id: Uuid,
    /// One of its steps.
    pub step_id: Uuid,
    /// The ticket's key, e.g. `TST-123`.
    #[schemars(length(min = 1, max = 200))]
    pub key: String,
    /// The project's connection to the ticket's tracker, if several trackers have the key.
    #[serde(default)]
    pub external_system_link_id: Option<Uuid>,
}

impl TaskType for LinkTicketToAgileRunStep {
    const NAME: &'static str = "LinkTicketToAgileRunStep";
    const ID_PREFIX: &'static str = "linktickettoagilerunstep_";
    const LOCATION: TaskAddress = TaskAddress::Api;
    const PROBLEMS: &'static [ProblemKind] = &[
        UNKNOWN_AGILE_RUN,
        UNKNOWN_AGILE_RUN_STEP,
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

impl LinkTicketToAgileRunStep {
    fn linking(&self) -> Linking<'_> {
        let target = Target::AgileRunStep { agile_run_id: self.agile_run_id, step_id: self.step_id };
        Linking { target, key: &self.key, external_system_link_id: self.external_system_link_id }
    }
}
