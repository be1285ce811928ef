//! The nodes of automated test runs.

use longhaul_model::schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(crate = "longhaul_model::schemars")]
pub(crate) enum NodeKind {
    Suite,
    Case,
}

/// The outcome of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "longhaul_model::schemars")]
pub(crate) enum NodeStatus {
    Passed,
    Failed,
    Error,
    Skipped,
}

/// A suite or a case.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) id: Uuid,
    pub(crate) parent_id: Option<Uuid>,
    /// In the order of the report, over the whole run.
    pub(crate) position: i32,
    pub(crate) kind: NodeKind,
    pub(crate) name: String,
    pub(crate) class_name: Option<String>,
    /// Of cases only.
    pub(crate) status: Option<NodeStatus>,
    pub(crate) duration_seconds: Option<f64>,
    pub(crate) message: Option<String>,
}

impl NodeStatus {
    const fn name(self) -> &'static str {
        match self {
            NodeStatus::Passed => "Passed",
            NodeStatus::Failed => "Failed",
            NodeStatus::Error => "Error",
            NodeStatus::Skipped => "Skipped",
        }
    }
}

/// Stores nodes, whose parents are among them or stored before.
pub(crate) async fn insert_nodes(connection: &mut PgConnection, run_id: Uuid, nodes: &[Node]) -> sqlx::Result<()> {
    fn column<'a, T>(nodes: &'a [Node], pick: impl Fn(&'a Node) -> T) -> Vec<T> {
        nodes.iter().map(pick).collect()
    }
    sqlx::query(
        "INSERT INTO records.result_node (id, automated_test_run_id, parent_id, position, kind, name, class_name, status,
                                          duration_seconds, message)
         SELECT n.id, $1, n.parent_id, n.position, n.kind, n.name, n.class_name, n.status, n.duration_seconds, n.message
           FROM unnest($2::uuid[], $3::uuid[], $4::int[], $5::text[], $6::text[], $7::text[], $8::text[], $9::float8[],
                       $10::text[])
             AS n(id, parent_id, position, kind, name, class_name, status, duration_seconds, message)",
    )
    .bind(run_id)
    .bind(column(nodes, |node| node.id))
    .bind(column(nodes, |node| node.parent_id))
    .bind(column(nodes, |node| node.position))
    .bind(column(nodes, |node| if node.kind == NodeKind::Case { "Case" } else { "Suite" }))
    .bind(column(nodes, |node| node.name.as_str()))
    .bind(column(nodes, |node| node.class_name.as_deref()))
    .bind(column(nodes, |node| node.status.map(NodeStatus::name)))
    .bind(column(nodes, |node| node.duration_seconds))
    .bind(column(nodes, |node| node.message.as_deref()))
    .execute(connection)
    .await?;
    Ok(())
}
