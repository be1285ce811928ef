//! `/api/incidents`: what is synchronized with tickets. Tasks make them.

use longhaul_model::ProblemKind;
use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;
use uuid::Uuid;

use super::page::Filter;
use super::record::Record;
use crate::problem::UNKNOWN_INCIDENT;

/// An incident as it is shown.
#[derive(Serialize, FromRow, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars")]
pub(super) struct Incident {
    id: Uuid,
    project_id: Uuid,
    external_system_link_id: Uuid,
    ticket_id: String,
    key: String,
    name: String,
    /// `Ticket` follows the ticket; the others are ours.
    #[schemars(with = "serde_json::Map<String, Value>")]
    fields: Value,
    created_at: DateTime<Utc>,
    synchronized_at: DateTime<Utc>,
    vanished_at: Option<DateTime<Utc>>,
}

impl Record for Incident {
    const ONE: &'static str = "incident";
    const MANY: &'static str = "incidents";
    const WORDS: (&'static str, &'static str) = ("an incident", "incidents");
    const SELECT: &'static str = "SELECT r.id, e.project_id, r.external_system_link_id, r.ticket_id, e.key, e.name, \
        e.fields, r.created_at, r.synchronized_at, r.vanished_at \
        FROM records.incident AS r JOIN records.entity AS e ON e.id = r.id";
    // The ticket stays as it is.
    const DELETE: Option<&'static str> = Some("DELETE FROM records.entity WHERE id = $1 AND kind = 'Incident'");
    const FILTERS: &'static [Filter] = &[
        Filter { name: "project", column: "e.project_id" },
        Filter { name: "externalsystemlink", column: "r.external_system_link_id" },
    ];
    const UNKNOWN: ProblemKind = UNKNOWN_INCIDENT;

    fn id(&self) -> Uuid {
        self.id
    }

    fn links(&self) -> Vec<(&'static str, String)> {
        vec![("IncidentLinks", format!("/api/incidentlinks?incident={}", self.id))]
    }
}
