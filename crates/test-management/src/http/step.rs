//! Script assignments and agile runs are records with steps: the same form for
//! both.

use longhaul_api::ApiError;
use longhaul_api::record::refused;
use longhaul_model::schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

/// A step as the API shows it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars", rename = "Step")]
pub(super) struct ShownStep {
    id: Uuid,
    name: String,
    status: StepStatus,
}

/// A new step.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars")]
pub(super) struct NewStep {
    #[serde(default)]
    id: Option<Uuid>,
    #[schemars(length(min = 1, max = 500))]
    name: String,
    #[serde(default)]
    status: StepStatus,
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "longhaul_model::schemars")]
enum StepStatus {
    #[default]
    NotRun,
    Passed,
    Failed,
    Blocked,
    Skipped,
}

/// New steps as columns: ids, names, statuses.
fn columns(steps: Vec<NewStep>) -> (Vec<Uuid>, Vec<String>, Vec<&'static str>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for step in steps {
        columns.0.push(step.id.unwrap_or_else(Uuid::now_v7));
        columns.1.push(step.name);
        columns.2.push(match step.status {
            StepStatus::NotRun => "NotRun",
            StepStatus::Passed => "Passed",
            StepStatus::Failed => "Failed",
            StepStatus::Blocked => "Blocked",
            StepStatus::Skipped => "Skipped",
        });
    }
    columns
}

/// A new record with its steps.
pub(super) struct Stepped {
    pub(super) id: Option<Uuid>,
    pub(super) project_id: Uuid,
    pub(super) name: String,
    pub(super) steps: Vec<NewStep>,
}

/// Where it goes.
pub(super) struct Tables {
    /// Takes id, project and name.
    pub(super) record: &'static str,
    /// Takes the record's id, and ids, names and statuses of the steps.
    pub(super) steps: &'static str,
}

impl Stepped {
    /// Stores it in this transaction; returns its id.
    pub(super) async fn insert(self, transaction: &mut PgConnection, into: Tables) -> Result<Uuid, ApiError> {
        let id = self.id.unwrap_or_else(Uuid::now_v7);
        sqlx::query(into.record)
            .bind(id)
            .bind(self.project_id)
            .bind(&self.name)
            .execute(&mut *transaction)
            .await
            .map_err(refused)?;
        let (ids, names, statuses) = columns(self.steps);
        sqlx::query(into.steps)
            .bind(id)
            .bind(ids)
            .bind(names)
            .bind(statuses)
            .execute(&mut *transaction)
            .await
            .map_err(refused)?;
        Ok(id)
    }
}
