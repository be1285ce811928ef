//! `LinkTicketToAutomatedTestRunResultNode`: links a ticket to a result node of an
//! automated test run.

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
    UNKNOWN_AUTOMATED_TEST_RUN, UNKNOWN_EXTERNAL_SYSTEM_LINK, UNKNOWN_RESULT_NODE,
};

/// Links a ticket of an external tracker to a result node of an automated test run. If the ticket
/// has no incident yet, one is created.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars", example = serde_json::json!({"AutomatedTestRunId": "ad3c8f9a-6959-4226-9b47-a0a601595de4", "ResultNodeId": "3aaf3505-85ca-43c4-a822-fe468118aab7", "Key": "TST-123"}))]
pub struct LinkTicketToAutomatedTestRunResultNode {
    /// The automated test run.
    pub automated_test_run_id: Uuid,
    /// One of its result nodes.
    pub result_node_id: Uuid,
    /// The ticket's key, e.g. `TST-123`.
    #[schemars(length(min = 1, max = 200))]
    pub key: String,
    /// The project's connection to the ticket's tracker, if several trackers have the key.
    #[serde(default)]
    pub external_system_link_id: Option<Uuid>,
}

impl TaskType for LinkTicketToAutomatedTestRunResultNode {
    const NAME: &'static str = "LinkTicketToAutomatedTestRunResultNode";
    const ID_PREFIX: &'static str = "linktickettoautomatedtestrunresultnode_";
    const LOCATION: TaskAddress = TaskAddress::Api;
    const PROBLEMS: &'static [ProblemKind] = &[
        UNKNOWN_AUTOMATED_TEST_RUN,
        UNKNOWN_RESULT_NODE,
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

impl LinkTicketToAutomatedTestRunResultNode {
    fn linking(&self) -> Linking<'_> {
        let target = Target::ResultNode {
            automated_test_run_id: self.automated_test_run_id,
            result_node_id: self.result_node_id,
        };
        Linking { target, key: &self.key, external_system_link_id: self.external_system_link_id }
    }
}
