//! `/api/incidentlinks`: what incidents are linked to. Tasks make them.

use longhaul_api::record::{BelongsTo, Filter, Permissions, Record};
use longhaul_model::ProblemKind;
use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::permission::RECORDS;
use crate::problem::UNKNOWN_INCIDENT_LINK;

/// A link as the API shows it: exactly one target is not null.
#[derive(Serialize, FromRow, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars")]
pub(super) struct IncidentLink {
    id: Uuid,
    incident_id: Uuid,
    step_result_id: Option<Uuid>,
    agile_run_step_id: Option<Uuid>,
    result_node_id: Option<Uuid>,
    created_at: DateTime<Utc>,
}

impl Record for IncidentLink {
    const ONE: &'static str = "incidentlink";
    const MANY: &'static str = "incidentlinks";
    const WORDS: (&'static str, &'static str) = ("an incident link", "incident links");
    const SELECT: &'static str = "SELECT r.id, r.incident_id, r.step_result_id, r.agile_run_step_id, r.result_node_id, \
                                  r.created_at FROM records.incident_link AS r";
    const DELETE: Option<&'static str> = Some("DELETE FROM records.incident_link WHERE id = $1");
    const FILTERS: &'static [Filter] = &[
        Filter { name: "incident", column: "r.incident_id" },
        Filter { name: "stepresult", column: "r.step_result_id" },
        Filter { name: "agilerunstep", column: "r.agile_run_step_id" },
        Filter { name: "resultnode", column: "r.result_node_id" },
    ];
    const BELONGS: BelongsTo =
        BelongsTo::Project("(SELECT e.project_id FROM records.entity e WHERE e.id = r.incident_id)");
    const UNKNOWN: ProblemKind = UNKNOWN_INCIDENT_LINK;
    const PERMISSIONS: Permissions = RECORDS;

    fn id(&self) -> Uuid {
        self.id
    }

    fn links(&self) -> Vec<(&'static str, String)> {
        vec![("Incident", format!("/api/incident/{}", self.incident_id))]
    }
}
