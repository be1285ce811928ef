//! `CreateTicketLink`: creates an incident that is synchronized with a ticket.

use longhaul_model::schemars::JsonSchema;
use longhaul_model::{
    CreateContext, CreateError, Outcome, Plan, ProblemKind, Progress, RunContext, RunError, Step, TaskAddress, TaskType,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::external_system::{known_link, ticket_by_id, trackers, unknown_link};
use crate::incident;
use crate::linking::{Linked, begin, linked};
use crate::permission::EDIT_INCIDENTS;
use crate::problem::{
    ALREADY_LINKED, TICKET_NOT_FOUND, TRACKER_MISBEHAVED, TRACKER_NOT_ALLOWED, TRACKER_REFUSED,
    UNKNOWN_EXTERNAL_SYSTEM_LINK,
};
use crate::refusal::Refusal;

/// Creates an incident that is synchronized with a ticket of an external
/// tracker. Usually started by the `StartCreateIncident` link of a ticket search
/// result.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars", example = serde_json::json!({"TicketId": "12345", "ExternalSystemLinkId": "3aaf3505-85ca-43c4-a822-fe468118aab7"}))]
pub struct CreateTicketLink {
    /// The tracker's internal id of the ticket, not its key.
    #[schemars(length(min = 1, max = 200))]
    pub ticket_id: String,
    /// The project's connection to the tracker.
    pub external_system_link_id: Uuid,
}

/// Finding the ticket is about a third of the work (the seed: 0.34 beside 1 of
/// 2), which the POST has done.
const PLAN: Plan =
    Plan::new(&[Step { name: "Finding ticket", weight: 34 }, Step { name: "Creating incident", weight: 66 }]);

impl TaskType for CreateTicketLink {
    const NAME: &'static str = "CreateTicketLink";
    const ID_PREFIX: &'static str = "ticketlinking_";
    const LOCATION: TaskAddress = TaskAddress::Api;
    const PROBLEMS: &'static [ProblemKind] = &[
        UNKNOWN_EXTERNAL_SYSTEM_LINK,
        TICKET_NOT_FOUND,
        ALREADY_LINKED,
        TRACKER_REFUSED,
        TRACKER_NOT_ALLOWED,
        TRACKER_MISBEHAVED,
    ];

    async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        context.require_somewhere(EDIT_INCIDENTS)?;
        let link = known_link(&context.pool, self.external_system_link_id).await?;
        if !context.may_in(EDIT_INCIDENTS, link.project_id) {
            return Err(unknown_link(link.id).into());
        }
        let ticket = ticket_by_id(trackers(&context.resources)?, &link, &self.ticket_id).await?;
        if let Some(incident_id) = incident::of_ticket(&context.pool, &link, &ticket.id).await? {
            return Err(already_linked(&ticket.key, incident_id).into());
        }
        Ok(PLAN.after(1))
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        if let Some(Linked { incident_id }) = context.checkpoint()? {
            return Ok(linked(incident_id));
        }
        begin(&context, &PLAN);
        let link = known_link(context.pool(), self.external_system_link_id).await?;
        let ticket = tokio::select! {
            found = ticket_by_id(trackers(context.resources())?, &link, &self.ticket_id) => found?,
            () = context.cancellation().cancelled() => return Ok(Outcome::Cancelled),
        };
        context.progress().set_step(&PLAN, 1);

        let mut transaction = context.pool().begin().await?;
        let Some(incident_id) = incident::create(&mut transaction, &link, &ticket).await? else {
            let other = incident::of_ticket(&mut *transaction, &link, &ticket.id).await?;
            return Err(already_linked(&ticket.key, other.ok_or(sqlx::Error::RowNotFound)?).into());
        };
        context.progress().set_step(&PLAN, 2);
        context.progress().set_message(format!("Created an incident for {}", ticket.key));
        context.save_checkpoint_in(&mut transaction, &Linked { incident_id }).await?;
        transaction.commit().await?;
        tracing::info!(task = context.public_id(), %incident_id, ticket = ticket.key, "incident created");
        Ok(linked(incident_id))
    }
}

fn already_linked(key: &str, incident_id: Uuid) -> Refusal {
    Refusal::Impossible(ALREADY_LINKED, format!("The ticket {key} is already linked: to incident {incident_id}."))
}
