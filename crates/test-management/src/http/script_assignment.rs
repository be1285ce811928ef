//! `/api/scriptassignments`: scripts that somebody runs by hand, with a result for each step.

use std::sync::LazyLock;

use longhaul_api::record::{BelongsTo, Creatable, Filter, Permissions, Record};
use longhaul_api::{ApiError, App};
use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::schemars::JsonSchema;
use longhaul_model::{ProblemKind, Shape};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::step::{NewStep, ShownStep, Stepped, Tables};
use crate::permission::RECORDS;
use crate::problem::UNKNOWN_SCRIPT_ASSIGNMENT;

/// A record as the API shows it.
#[derive(Serialize, FromRow, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars")]
pub(super) struct ScriptAssignment {
    id: Uuid,
    project_id: Uuid,
    name: String,
    created_at: DateTime<Utc>,
    #[schemars(with = "Vec<ShownStep>")]
    step_results: Json<Vec<ShownStep>>,
}

/// A new record.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars", rename = "NewScriptAssignment")]
pub(super) struct New {
    #[serde(default)]
    id: Option<Uuid>,
    project_id: Uuid,
    #[schemars(length(min = 1, max = 500))]
    name: String,
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    step_results: Vec<NewStep>,
}

impl Record for ScriptAssignment {
    const ONE: &'static str = "scriptassignment";
    const MANY: &'static str = "scriptassignments";
    const WORDS: (&'static str, &'static str) = ("a script assignment", "script assignments");
    const SELECT: &'static str = "SELECT r.id, r.project_id, r.name, r.created_at, \
        (SELECT coalesce(json_agg(json_build_object('Id', s.id, 'Name', s.name, 'Status', s.status) ORDER BY s.position), '[]') \
           FROM records.step_result s WHERE s.script_assignment_id = r.id) AS step_results \
        FROM records.script_assignment AS r";
    const DELETE: Option<&'static str> = Some("DELETE FROM records.script_assignment WHERE id = $1");
    const FILTERS: &'static [Filter] = &[Filter { name: "project", column: "r.project_id" }];
    const BELONGS: BelongsTo = BelongsTo::Project("r.project_id");
    const UNKNOWN: ProblemKind = UNKNOWN_SCRIPT_ASSIGNMENT;
    const PERMISSIONS: Permissions = RECORDS;

    fn id(&self) -> Uuid {
        self.id
    }
}

impl Creatable for ScriptAssignment {
    type New = New;

    fn shape() -> &'static Shape<New> {
        static SHAPE: LazyLock<Shape<New>> = LazyLock::new(Shape::new);
        &SHAPE
    }

    async fn insert(_app: &App, transaction: &mut PgConnection, new: New) -> Result<Uuid, ApiError> {
        let stepped = Stepped { id: new.id, project_id: new.project_id, name: new.name, steps: new.step_results };
        stepped.insert(transaction, TABLES).await
    }
}

const TABLES: Tables = Tables {
    record: "INSERT INTO records.script_assignment (id, project_id, name) VALUES ($1, $2, $3)",
    steps: "INSERT INTO records.step_result (id, script_assignment_id, position, name, status)
            SELECT s.id, $1, s.position - 1, s.name, s.status
              FROM unnest($2::uuid[], $3::text[], $4::text[]) WITH ORDINALITY AS s(id, name, status, position)",
};
