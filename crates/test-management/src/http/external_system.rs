//! `/api/externalsystems`: the trackers. Credentials go in and never out.

use std::sync::LazyLock;

use longhaul_api::record::{ALREADY_EXISTS, Changeable, Creatable, NO_SECRET_KEY, Permissions, Record, given, refused};
use longhaul_api::{ApiError, App};
use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::schemars::JsonSchema;
use longhaul_model::{ParameterError, ProblemKind, Shape};
use longhaul_outbound::Address;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::permission::{EDIT_EXTERNAL_SYSTEMS, VIEW_EXTERNAL_SYSTEMS};
use crate::problem::UNKNOWN_EXTERNAL_SYSTEM;
use crate::trackers::{Credentials, TrackerKind, Trackers};

/// A tracker as the API shows it.
#[derive(Serialize, FromRow, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars")]
pub(super) struct ExternalSystem {
    id: Uuid,
    name: String,
    #[schemars(with = "TrackerKind")]
    kind: String,
    base_url: String,
    /// Whether there are credentials. The API never shows them.
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

/// Changes of a tracker. Its kind can't change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars", rename = "ExternalSystemChange")]
pub(super) struct Change {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 200))]
    name: Option<String>,
    /// A new host requires `Credentials`, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 1000))]
    base_url: Option<String>,
    /// Replaces the credentials; null removes them.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<Credentials>")]
    credentials: Option<Option<Credentials>>,
}

impl Record for ExternalSystem {
    const ONE: &'static str = "externalsystem";
    const MANY: &'static str = "externalsystems";
    const WORDS: (&'static str, &'static str) = ("an external system", "external systems");
    const SELECT: &'static str = "SELECT r.id, r.name, r.kind, r.base_url, r.credentials IS NOT NULL AS has_credentials, \
                                  r.created_at FROM records.external_system AS r";
    const DELETE: Option<&'static str> = Some("DELETE FROM records.external_system WHERE id = $1");
    const PERMISSIONS: Permissions = Permissions { view: VIEW_EXTERNAL_SYSTEMS, edit: EDIT_EXTERNAL_SYSTEMS };
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

    async fn insert(app: &App, transaction: &mut PgConnection, new: New) -> Result<Uuid, ApiError> {
        let id = new.id.unwrap_or_else(Uuid::now_v7);
        let trackers = trackers(app)?;
        let address = checked(trackers, &new.base_url)?;
        let sealed = new.credentials.map(|credentials| seal(trackers, id, &credentials)).transpose()?;
        sqlx::query(
            "INSERT INTO records.external_system (id, name, kind, base_url, credentials) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(id)
        .bind(&new.name)
        .bind(new.kind.name())
        .bind(address.as_str())
        .bind(sealed)
        .execute(&mut *transaction)
        .await
        .map_err(refused)?;
        Ok(id)
    }
}

impl Changeable for ExternalSystem {
    type Change = Change;

    const CHANGE_PROBLEMS: &'static [ProblemKind] = &[NO_SECRET_KEY];

    fn change_shape() -> &'static Shape<Change> {
        static SHAPE: LazyLock<Shape<Change>> = LazyLock::new(Shape::new);
        &SHAPE
    }

    async fn update(app: &App, transaction: &mut PgConnection, id: Uuid, change: Change) -> Result<bool, ApiError> {
        let trackers = trackers(app)?;
        let address = change.base_url.as_deref().map(|base_url| checked(trackers, base_url)).transpose()?;
        let sealed = match &change.credentials {
            Some(Some(credentials)) => Some(seal(trackers, id, credentials)?),
            _ => None,
        };
        let there: Option<(String, bool)> = sqlx::query_as(
            "SELECT base_url, credentials IS NOT NULL FROM records.external_system WHERE id = $1 FOR UPDATE",
        )
        .bind(id)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some((base_url, has_credentials)) = there else { return Ok(false) };
        // Whoever may change the address could otherwise have the secret sent to a
        // host of their own, though it is never shown.
        let moves = address.as_ref().is_some_and(|address| {
            Url::parse(&base_url).map_or(true, |before| before.origin() != address.url().origin())
        });
        if moves && has_credentials && change.credentials.is_none() {
            return Err(ApiError::invalid_request(vec![ParameterError {
                pointer: "/Credentials".to_owned(),
                message: "A new host requires its Credentials again, or null: the stored ones are not sent to it."
                    .to_owned(),
            }]));
        }
        sqlx::query(
            "UPDATE records.external_system
                SET name = coalesce($2, name), base_url = coalesce($3, base_url),
                    credentials = CASE WHEN $4 THEN $5 ELSE credentials END
              WHERE id = $1",
        )
        .bind(id)
        .bind(&change.name)
        .bind(address.as_ref().map(Address::as_str))
        .bind(change.credentials.is_some())
        .bind(sealed)
        .execute(&mut *transaction)
        .await
        .map_err(refused)?;
        Ok(true)
    }
}

fn trackers(app: &App) -> Result<&Trackers, ApiError> {
    app.resources().get::<Trackers>().ok_or_else(|| ApiError::internal("the host gives no Trackers"))
}

/// The address, if a tracker may be there.
fn checked(trackers: &Trackers, base_url: &str) -> Result<Address, ApiError> {
    trackers
        .check_base_url(base_url)
        .map_err(|message| ApiError::invalid_request(vec![ParameterError { pointer: "/BaseUrl".to_owned(), message }]))
}

/// Line breaks around a secret came with copying it. Others can't be sent in a header.
fn seal(trackers: &Trackers, id: Uuid, credentials: &Credentials) -> Result<Vec<u8>, ApiError> {
    let secret = credentials.secret.trim_matches(['\r', '\n']);
    let username = credentials.username.as_deref().map(|name| name.trim().to_owned());
    let credentials = &Credentials { username, secret: secret.to_owned() };
    if secret.is_empty() || secret.chars().any(char::is_control) {
        return Err(ApiError::invalid_request(vec![ParameterError {
            pointer: "/Credentials/Secret".to_owned(),
            message: "One line, without control characters, is expected.".to_owned(),
        }]));
    }
    trackers.seal(id, credentials).map_err(|_| {
        let detail = "Credentials can't be stored: the operator of this host must set LONGHAUL_SECRET_KEY.";
        ApiError::new(NO_SECRET_KEY, detail)
    })
}
