//! `/api/externalsystems`: the trackers. Credentials go in and never out.

use std::sync::LazyLock;

use longhaul_api::{ApiError, App};
use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::schemars::JsonSchema;
use longhaul_model::{ParameterError, ProblemKind, Shape};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

use super::record::{Creatable, Record, refused};
use crate::problem::{ALREADY_EXISTS, NO_SECRET_KEY, UNKNOWN_EXTERNAL_SYSTEM};
use crate::trackers::{Credentials, TrackerKind, Trackers};

/// A tracker as it is shown.
#[derive(Serialize, FromRow, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars")]
pub(super) struct ExternalSystem {
    id: Uuid,
    name: String,
    #[schemars(with = "TrackerKind")]
    kind: String,
    base_url: String,
    /// Whether there are any; what they are is never shown.
    has_credentials: bool,
    created_at: DateTime<Utc>,
}

/// A new tracker.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars", rename = "NewExternalSystem")]
pub(super) struct New {
    #[serde(default)]
    id: Option<Uuid>,
    #[schemars(length(min = 1, max = 200))]
    name: String,
    kind: TrackerKind,
    #[schemars(length(min = 1, max = 1000))]
    base_url: String,
    #[serde(default)]
    credentials: Option<Credentials>,
}

impl Record for ExternalSystem {
    const ONE: &'static str = "externalsystem";
    const MANY: &'static str = "externalsystems";
    const WORDS: (&'static str, &'static str) = ("an external system", "external systems");
    const SELECT: &'static str = "SELECT r.id, r.name, r.kind, r.base_url, r.credentials IS NOT NULL AS has_credentials, \
                                  r.created_at FROM records.external_system AS r";
    const DELETE: Option<&'static str> = Some("DELETE FROM records.external_system WHERE id = $1");
    const UNKNOWN: ProblemKind = UNKNOWN_EXTERNAL_SYSTEM;

    fn id(&self) -> Uuid {
        self.id
    }
}

impl Creatable for ExternalSystem {
    type New = New;

    const PROBLEMS: &'static [ProblemKind] = &[ALREADY_EXISTS, NO_SECRET_KEY];

    fn shape() -> &'static Shape<New> {
        static SHAPE: LazyLock<Shape<New>> = LazyLock::new(Shape::new);
        &SHAPE
    }

    async fn insert(app: &App, new: New) -> Result<Uuid, ApiError> {
        let id = new.id.unwrap_or_else(Uuid::now_v7);
        let trackers =
            app.resources().get::<Trackers>().ok_or_else(|| ApiError::internal("the host gives no Trackers"))?;
        trackers.check_base_url(&new.base_url).map_err(|message| {
            ApiError::invalid_request(vec![ParameterError { pointer: "/BaseUrl".to_owned(), message }])
        })?;
        let sealed = new.credentials.map(|credentials| trackers.seal(id, &credentials)).transpose().map_err(|_| {
            let detail = "Credentials can't be stored: whoever runs this host must set LONGHAUL_SECRET_KEY.";
            ApiError::new(NO_SECRET_KEY, detail)
        })?;
        sqlx::query(
            "INSERT INTO records.external_system (id, name, kind, base_url, credentials) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(id)
        .bind(&new.name)
        .bind(new.kind.name())
        .bind(&new.base_url)
        .bind(sealed)
        .execute(app.pool())
        .await
        .map_err(refused)?;
        Ok(id)
    }
}
