//! `/api/resultnodes`: suites and cases of automated test runs, in the order of
//! their report. They are made and go with their run.

use longhaul_api::record::{BelongsTo, Filter, Permissions, Record};
use longhaul_model::ProblemKind;
use longhaul_model::schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::permission::RECORDS;
use crate::problem::UNKNOWN_RESULT_NODE;
use crate::result_node::{NodeKind, NodeStatus};

/// A node as the API shows it.
#[derive(Serialize, FromRow, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars")]
pub(super) struct ResultNode {
    id: Uuid,
    automated_test_run_id: Uuid,
    parent_id: Option<Uuid>,
    position: i32,
    #[schemars(with = "NodeKind")]
    kind: String,
    name: String,
    class_name: Option<String>,
    #[schemars(with = "Option<NodeStatus>")]
    status: Option<String>,
    duration_seconds: Option<f64>,
    message: Option<String>,
}

impl Record for ResultNode {
    const ONE: &'static str = "resultnode";
    const MANY: &'static str = "resultnodes";
    const WORDS: (&'static str, &'static str) = ("a result node", "result nodes");
    const SELECT: &'static str = "SELECT r.id, r.automated_test_run_id, r.parent_id, r.position, r.kind, r.name, \
        r.class_name, r.status, r.duration_seconds, r.message FROM records.result_node AS r";
    const DELETE: Option<&'static str> = None;
    const FILTERS: &'static [Filter] = &[
        Filter { name: "automatedtestrun", column: "r.automated_test_run_id" },
        Filter { name: "parent", column: "r.parent_id" },
    ];
    const BELONGS: BelongsTo = BelongsTo::Project(
        "(SELECT run.project_id FROM records.automated_test_run run WHERE run.id = r.automated_test_run_id)",
    );
    const UNKNOWN: ProblemKind = UNKNOWN_RESULT_NODE;
    const PERMISSIONS: Permissions = RECORDS;

    fn id(&self) -> Uuid {
        self.id
    }

    fn links(&self) -> Vec<(&'static str, String)> {
        vec![("AutomatedTestRun", format!("/api/automatedtestrun/{}", self.automated_test_run_id))]
    }
}
