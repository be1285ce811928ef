//! `/api/externalsystemlinks`: projects' connections to trackers.

use std::sync::LazyLock;

use longhaul_api::record::{
    ALREADY_EXISTS, BelongsTo, Changeable, Creatable, Filter, Permissions, Record, given, refused,
};
use longhaul_api::{ApiError, App};
use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::schemars::JsonSchema;
use longhaul_model::{ParameterError, ProblemKind, Shape};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::permission::{EDIT_EXTERNAL_SYSTEMS, VIEW_EXTERNAL_SYSTEMS};
use crate::problem::UNKNOWN_EXTERNAL_SYSTEM_LINK;

/// A connection as the API shows it.
#[derive(Serialize, FromRow, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars")]
pub(super) struct ExternalSystemLink {
    id: Uuid,
    project_id: Uuid,
    external_system_id: Uuid,
    remote_project: Option<String>,
    created_at: DateTime<Utc>,
}

/// A new connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars", rename = "NewExternalSystemLink")]
pub(super) struct New {
    #[serde(default)]
    id: Option<Uuid>,
    project_id: Uuid,
    external_system_id: Uuid,
    /// The tracker's own project: a key (Jira), an identifier (Redmine) or a path (GitLab, which
    /// requires it).
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    remote_project: Option<String>,
}

/// Changes of a connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars", rename = "ExternalSystemLinkChange")]
pub(super) struct Change {
    /// The tracker's own project under its new name; null for all of them.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<String>", length(min = 1, max = 200))]
    remote_project: Option<Option<String>>,
}

impl Record for ExternalSystemLink {
    const ONE: &'static str = "externalsystemlink";
    const MANY: &'static str = "externalsystemlinks";
    const WORDS: (&'static str, &'static str) = ("an external system link", "external system links");
    const SELECT: &'static str = "SELECT r.id, r.project_id, r.external_system_id, r.remote_project, r.created_at \
                                  FROM records.external_system_link AS r";
    const DELETE: Option<&'static str> = Some("DELETE FROM records.external_system_link WHERE id = $1");
    const FILTERS: &'static [Filter] = &[Filter { name: "project", column: "r.project_id" }];
    const PERMISSIONS: Permissions = Permissions { view: VIEW_EXTERNAL_SYSTEMS, edit: EDIT_EXTERNAL_SYSTEMS };
    const BELONGS: BelongsTo = BelongsTo::Project("r.project_id");
    const UNKNOWN: ProblemKind = UNKNOWN_EXTERNAL_SYSTEM_LINK;

    fn id(&self) -> Uuid {
        self.id
    }

    fn links(&self) -> Vec<(&'static str, String)> {
        vec![
            ("ExternalSystem", format!("/api/externalsystem/{}", self.external_system_id)),
            ("Tickets", format!("/api/externalsystemlink/{}/tickets", self.id)),
        ]
    }
}

impl Creatable for ExternalSystemLink {
    type New = New;

    fn shape() -> &'static Shape<New> {
        static SHAPE: LazyLock<Shape<New>> = LazyLock::new(Shape::new);
        &SHAPE
    }

    async fn insert(_app: &App, transaction: &mut PgConnection, new: New) -> Result<Uuid, ApiError> {
        let id = new.id.unwrap_or_else(Uuid::now_v7);
        let remote_project = new.remote_project.as_deref().map(trimmed).transpose()?;
        let kind: Option<String> = sqlx::query_scalar("SELECT kind FROM records.external_system WHERE id = $1")
            .bind(new.external_system_id)
            .fetch_optional(&mut *transaction)
            .await?;
        if kind.as_deref() == Some("GitLab") && remote_project.is_none() {
            return Err(needs_project());
        }
        sqlx::query(
            "INSERT INTO records.external_system_link (id, project_id, external_system_id, remote_project)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(id)
        .bind(new.project_id)
        .bind(new.external_system_id)
        .bind(remote_project)
        .execute(&mut *transaction)
        .await
        .map_err(refused)?;
        Ok(id)
    }
}

impl Changeable for ExternalSystemLink {
    type Change = Change;

    const CHANGE_PROBLEMS: &'static [ProblemKind] = &[ALREADY_EXISTS];

    fn change_shape() -> &'static Shape<Change> {
        static SHAPE: LazyLock<Shape<Change>> = LazyLock::new(Shape::new);
        &SHAPE
    }

    async fn update(_app: &App, transaction: &mut PgConnection, id: Uuid, change: Change) -> Result<bool, ApiError> {
        let remote_project = match &change.remote_project {
            Some(Some(name)) => Some(Some(trimmed(name)?)),
            Some(None) => Some(None),
            None => None,
        };
        let kind: Option<String> = sqlx::query_scalar(
            "SELECT s.kind FROM records.external_system_link l JOIN records.external_system s ON s.id = l.external_system_id
              WHERE l.id = $1",
        )
        .bind(id)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(kind) = kind else { return Ok(false) };
        let Some(remote_project) = remote_project else { return Ok(true) };
        if kind == "GitLab" && remote_project.is_none() {
            return Err(needs_project());
        }
        let done = sqlx::query("UPDATE records.external_system_link SET remote_project = $2 WHERE id = $1")
            .bind(id)
            .bind(remote_project)
            .execute(&mut *transaction)
            .await
            .map_err(refused)?;
        Ok(done.rows_affected() == 1)
    }
}

fn needs_project() -> ApiError {
    ApiError::invalid_request(vec![ParameterError {
        pointer: "/RemoteProject".to_owned(),
        message: "A connection to GitLab requires the path or number of its project.".to_owned(),
    }])
}

/// Spaces around a name came with copying it: no tracker's project has them.
fn trimmed(remote_project: &str) -> Result<&str, ApiError> {
    match remote_project.trim() {
        "" => Err(ApiError::invalid_request(vec![ParameterError {
            pointer: "/RemoteProject".to_owned(),
            message: "The tracker's own project is expected, or null for all of them.".to_owned(),
        }])),
        name => Ok(name),
    }
}
