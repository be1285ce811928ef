//! `/api/agileruns`: agile runs and their steps.

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
use crate::problem::UNKNOWN_AGILE_RUN;

/// A record as the API shows it.
#[derive(Serialize, FromRow, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars")]
pub(super) struct AgileRun {
    id: Uuid,
    project_id: Uuid,
    name: String,
    created_at: DateTime<Utc>,
    #[schemars(with = "Vec<ShownStep>")]
    steps: Json<Vec<ShownStep>>,
}

/// A new record.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars", rename = "NewAgileRun")]
pub(super) struct New {
    #[serde(default)]
    id: Option<Uuid>,
    project_id: Uuid,
    #[schemars(length(min = 1, max = 500))]
    name: String,
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    steps: Vec<NewStep>,
}

impl Record for AgileRun {
    const ONE: &'static str = "agilerun";
    const MANY: &'static str = "agileruns";
    const WORDS: (&'static str, &'static str) = ("an agile run", "agile runs");
    const SELECT: &'static str = "SELECT r.id, r.project_id, r.name, r.created_at, \
        (SELECT coalesce(json_agg(json_build_object('Id', s.id, 'Name', s.name, 'Status', s.status) ORDER BY s.position), '[]') \
           FROM records.agile_run_step s WHERE s.agile_run_id = r.id) AS steps \
        FROM records.agile_run AS r";
    const DELETE: Option<&'static str> = Some("DELETE FROM records.agile_run WHERE id = $1");
    const FILTERS: &'static [Filter] = &[Filter { name: "project", column: "r.project_id" }];
    const BELONGS: BelongsTo = BelongsTo::Project("r.project_id");
    const UNKNOWN: ProblemKind = UNKNOWN_AGILE_RUN;
    const PERMISSIONS: Permissions = RECORDS;

    fn id(&self) -> Uuid {
        self.id
    }
}

impl Creatable for AgileRun {
    type New = New;

    fn shape() -> &'static Shape<New> {
        static SHAPE: LazyLock<Shape<New>> = LazyLock::new(Shape::new);
        &SHAPE
    }

    async fn insert(_app: &App, transaction: &mut PgConnection, new: New) -> Result<Uuid, ApiError> {
        let stepped = Stepped { id: new.id, project_id: new.project_id, name: new.name, steps: new.steps };
        stepped.insert(transaction, TABLES).await
    }
}

const TABLES: Tables = Tables {
    record: "INSERT INTO records.agile_run (id, project_id, name) VALUES ($1, $2, $3)",
    steps: "INSERT INTO records.agile_run_step (id, agile_run_id, position, name, status)
            SELECT s.id, $1, s.position - 1, s.name, s.status
              FROM unnest($2::uuid[], $3::text[], $4::text[]) WITH ORDINALITY AS s(id, name, status, position)",
};
