//! Incidents: entities that are synchronized with tickets, and their links.

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, PgExecutor};
use uuid::Uuid;

use crate::external_system::ExternalSystemLink;
use crate::trackers::Ticket;

/// What an incident can be linked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    StepResult(Uuid),
    AgileRunStep { agile_run_id: Uuid, step_id: Uuid },
    ResultNode { automated_test_run_id: Uuid, result_node_id: Uuid },
}

impl Target {
    /// The column of `records.incident_link` that names it.
    const fn column(self) -> &'static str {
        match self {
            Target::StepResult(_) => "step_result_id",
            Target::AgileRunStep { .. } => "agile_run_step_id",
            Target::ResultNode { .. } => "result_node_id",
        }
    }

    const fn id(self) -> Uuid {
        match self {
            Target::StepResult(id) => id,
            Target::AgileRunStep { step_id, .. } => step_id,
            Target::ResultNode { result_node_id, .. } => result_node_id,
        }
    }

    /// In words, for messages.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Target::StepResult(_) => "step result",
            Target::AgileRunStep { .. } => "agile run's step",
            Target::ResultNode { .. } => "result node",
        }
    }
}

/// The incident that is synchronized with this ticket, if there is one.
pub(crate) async fn of_ticket(
    executor: impl PgExecutor<'_>,
    link: &ExternalSystemLink,
    ticket_id: &str,
) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar("SELECT id FROM records.incident WHERE external_system_link_id = $1 AND ticket_id = $2")
        .bind(link.id)
        .bind(ticket_id)
        .fetch_optional(executor)
        .await
}

/// Whether this ticket is linked to the target.
pub(crate) async fn is_linked(
    executor: impl PgExecutor<'_>,
    target: Target,
    link: &ExternalSystemLink,
    ticket_id: &str,
) -> sqlx::Result<bool> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM records.incident_link l JOIN records.incident i ON i.id = l.incident_id
                         WHERE l.{} = $1 AND i.external_system_link_id = $2 AND i.ticket_id = $3)",
        target.column()
    );
    sqlx::query_scalar(AssertSqlSafe(sql)).bind(target.id()).bind(link.id).bind(ticket_id).fetch_one(executor).await
}

const CREATE: &str = "
    WITH made AS (
        INSERT INTO records.incident (id, external_system_link_id, ticket_id) VALUES ($1, $2, $3)
        ON CONFLICT (external_system_link_id, ticket_id) DO NOTHING
        RETURNING id
    )
    INSERT INTO records.entity (id, project_id, kind, key, name, fields)
    SELECT id, $4, 'Incident', $5, $6, jsonb_build_object('Ticket', $7::jsonb) FROM made
    RETURNING id";

/// Creates the incident of a ticket; `None` if there is one already. Waits for
/// another transaction that is about to create the same.
pub(crate) async fn create(
    transaction: &mut PgConnection,
    link: &ExternalSystemLink,
    ticket: &Ticket,
) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar(CREATE)
        .bind(Uuid::now_v7())
        .bind(link.id)
        .bind(&ticket.id)
        .bind(link.project_id)
        .bind(&ticket.key)
        .bind(&ticket.summary)
        .bind(ticket_fields(ticket))
        .fetch_optional(transaction)
        .await
}

/// Links an incident to a target; `false` if it is linked already.
pub(crate) async fn link_to(transaction: &mut PgConnection, target: Target, incident_id: Uuid) -> sqlx::Result<bool> {
    let column = target.column();
    let sql = format!(
        "INSERT INTO records.incident_link (id, incident_id, {column}) VALUES ($1, $2, $3)
         ON CONFLICT ({column}, incident_id) DO NOTHING"
    );
    let done = sqlx::query(AssertSqlSafe(sql))
        .bind(Uuid::now_v7())
        .bind(incident_id)
        .bind(target.id())
        .execute(transaction)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// What of a ticket is kept in the incident's field `Ticket`.
pub(crate) fn ticket_fields(ticket: &Ticket) -> Value {
    serde_json::to_value(ticket).unwrap_or_default()
}
