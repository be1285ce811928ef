//! Steps of script assignments and agile runs: the same form for both.

use longhaul_model::schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A step as it is shown.
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

/// How a step went.
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
pub(super) fn columns(steps: Vec<NewStep>) -> (Vec<Uuid>, Vec<String>, Vec<&'static str>) {
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
