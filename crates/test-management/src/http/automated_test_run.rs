//! `/api/automatedtestruns`: results of automated tests, each a tree of nodes.

use std::sync::LazyLock;

use longhaul_api::record::{BelongsTo, Creatable, Filter, Permissions, Record, refused};
use longhaul_api::{ApiError, App};
use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::schemars::JsonSchema;
use longhaul_model::{ProblemKind, Shape};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::permission::{EDIT_AUTOMATED_TESTS, VIEW_RECORDS};
use crate::problem::UNKNOWN_AUTOMATED_TEST_RUN;
use crate::result_node::{Node, NodeKind, NodeStatus, insert_nodes};

/// A run as the API shows it, with the number of its cases by outcome.
#[derive(Serialize, FromRow, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars")]
pub(super) struct AutomatedTestRun {
    id: Uuid,
    project_id: Uuid,
    name: String,
    created_at: DateTime<Utc>,
    cases: i64,
    passed: i64,
    failed: i64,
    errors: i64,
    skipped: i64,
}

/// A new run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars", rename = "NewAutomatedTestRun")]
pub(super) struct New {
    #[serde(default)]
    id: Option<Uuid>,
    project_id: Uuid,
    #[schemars(length(min = 1, max = 500))]
    name: String,
    #[serde(default)]
    nodes: Vec<NewNode>,
}

/// A suite (it has no `Status`, and may have `Nodes`) or a case.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars")]
struct NewNode {
    #[serde(default)]
    id: Option<Uuid>,
    #[schemars(length(min = 1, max = 1000))]
    name: String,
    #[serde(default)]
    status: Option<NodeStatus>,
    #[serde(default)]
    nodes: Vec<NewNode>,
}

impl Record for AutomatedTestRun {
    const ONE: &'static str = "automatedtestrun";
    const MANY: &'static str = "automatedtestruns";
    const WORDS: (&'static str, &'static str) = ("an automated test run", "automated test runs");
    const SELECT: &'static str = "SELECT r.id, r.project_id, r.name, r.created_at, \
        n.cases, n.passed, n.failed, n.errors, n.skipped \
        FROM records.automated_test_run AS r CROSS JOIN LATERAL ( \
            SELECT count(*) FILTER (WHERE kind = 'Case') AS cases, count(*) FILTER (WHERE status = 'Passed') AS passed, \
                   count(*) FILTER (WHERE status = 'Failed') AS failed, count(*) FILTER (WHERE status = 'Error') AS errors, \
                   count(*) FILTER (WHERE status = 'Skipped') AS skipped \
              FROM records.result_node WHERE automated_test_run_id = r.id) AS n";
    const DELETE: Option<&'static str> = Some("DELETE FROM records.automated_test_run WHERE id = $1");
    const FILTERS: &'static [Filter] = &[Filter { name: "project", column: "r.project_id" }];
    const PERMISSIONS: Permissions = Permissions { view: VIEW_RECORDS, edit: EDIT_AUTOMATED_TESTS };
    const BELONGS: BelongsTo = BelongsTo::Project("r.project_id");
    const UNKNOWN: ProblemKind = UNKNOWN_AUTOMATED_TEST_RUN;

    fn id(&self) -> Uuid {
        self.id
    }

    fn links(&self) -> Vec<(&'static str, String)> {
        vec![("ResultNodes", format!("/api/resultnodes?automatedtestrun={}", self.id))]
    }
}

impl Creatable for AutomatedTestRun {
    type New = New;

    fn shape() -> &'static Shape<New> {
        static SHAPE: LazyLock<Shape<New>> = LazyLock::new(Shape::new);
        &SHAPE
    }

    async fn insert(_app: &App, transaction: &mut PgConnection, new: New) -> Result<Uuid, ApiError> {
        let id = new.id.unwrap_or_else(Uuid::now_v7);
        let mut nodes = Vec::new();
        flatten(new.nodes, None, &mut nodes);
        sqlx::query("INSERT INTO records.automated_test_run (id, project_id, name) VALUES ($1, $2, $3)")
            .bind(id)
            .bind(new.project_id)
            .bind(&new.name)
            .execute(&mut *transaction)
            .await
            .map_err(refused)?;
        insert_nodes(transaction, id, &nodes).await.map_err(refused)?;
        Ok(id)
    }
}

/// Parents before their children. JSON that nests too deep was refused before.
fn flatten(new: Vec<NewNode>, parent_id: Option<Uuid>, nodes: &mut Vec<Node>) {
    for node in new {
        let id = node.id.unwrap_or_else(Uuid::now_v7);
        let kind = if node.status.is_some() { NodeKind::Case } else { NodeKind::Suite };
        nodes.push(Node {
            id,
            parent_id,
            position: i32::try_from(nodes.len()).unwrap_or(i32::MAX),
            kind,
            name: node.name,
            class_name: None,
            status: node.status,
            duration_seconds: None,
            message: None,
        });
        flatten(node.nodes, Some(id), nodes);
    }
}
