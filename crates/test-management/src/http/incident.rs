//! `/api/incidents`: what is synchronized with tickets. Tasks make them; people
//! may give them a name and fields of their own.

use std::sync::LazyLock;

use longhaul_api::record::{BelongsTo, Changeable, Filter, Permissions, Record, given};
use longhaul_api::{ApiError, App};
use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::schemars::JsonSchema;
use longhaul_model::{ParameterError, ProblemKind, Shape};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::permission::{EDIT_INCIDENTS, VIEW_RECORDS};
use crate::problem::UNKNOWN_INCIDENT;

/// An incident as the API shows it.
#[derive(Serialize, FromRow, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars")]
pub(super) struct Incident {
    id: Uuid,
    project_id: Uuid,
    external_system_link_id: Uuid,
    ticket_id: String,
    key: String,
    name: String,
    /// `Ticket` follows the ticket; the others are ours.
    #[schemars(with = "Map<String, Value>")]
    fields: Value,
    created_at: DateTime<Utc>,
    synchronized_at: DateTime<Utc>,
    vanished_at: Option<DateTime<Utc>>,
}

/// Changes of an incident. They do not affect the ticket.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars", rename = "IncidentChange")]
pub(super) struct Change {
    /// The incident's own name, which synchronization keeps; null makes it follow the ticket again.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<String>", length(min = 1, max = 500))]
    name: Option<Option<String>>,
    /// The field `Description`; null removes it.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<String>", length(max = 100_000))]
    description: Option<Option<String>>,
    /// Fields to set, each as a whole; null removes a field. `Ticket` can't be changed.
    #[serde(default)]
    fields: Map<String, Value>,
}

impl Record for Incident {
    const ONE: &'static str = "incident";
    const MANY: &'static str = "incidents";
    const WORDS: (&'static str, &'static str) = ("an incident", "incidents");
    const SELECT: &'static str = "SELECT r.id, e.project_id, r.external_system_link_id, r.ticket_id, e.key, e.name, \
        e.fields, r.created_at, r.synchronized_at, r.vanished_at \
        FROM records.incident AS r JOIN records.entity AS e ON e.id = r.id";
    // The ticket stays as it is.
    const DELETE: Option<&'static str> = Some("DELETE FROM records.entity WHERE id = $1 AND kind = 'Incident'");
    const FILTERS: &'static [Filter] = &[
        Filter { name: "project", column: "e.project_id" },
        Filter { name: "externalsystemlink", column: "r.external_system_link_id" },
    ];
    const PERMISSIONS: Permissions = Permissions { view: VIEW_RECORDS, edit: EDIT_INCIDENTS };
    const BELONGS: BelongsTo = BelongsTo::Project("e.project_id");
    const UNKNOWN: ProblemKind = UNKNOWN_INCIDENT;

    fn id(&self) -> Uuid {
        self.id
    }

    fn links(&self) -> Vec<(&'static str, String)> {
        vec![("IncidentLinks", format!("/api/incidentlinks?incident={}", self.id))]
    }
}

/// The field that synchronizing writes.
const TICKET: &str = "Ticket";

impl Changeable for Incident {
    type Change = Change;

    fn change_shape() -> &'static Shape<Change> {
        static SHAPE: LazyLock<Shape<Change>> = LazyLock::new(Shape::new);
        &SHAPE
    }

    async fn update(_app: &App, transaction: &mut PgConnection, id: Uuid, change: Change) -> Result<bool, ApiError> {
        let mut fields = change.fields;
        let mut errors = Vec::new();
        let mut complain = |pointer: &str, message: &str| {
            errors.push(ParameterError { pointer: pointer.to_owned(), message: message.to_owned() });
        };
        if fields.contains_key(TICKET) {
            complain("/Fields/Ticket", "It comes from the tracker and can't be changed here.");
        }
        if let Some(description) = change.description {
            let description = description.map_or(Value::Null, Value::String);
            if fields.insert("Description".to_owned(), description).is_some() {
                complain("/Fields/Description", "Description is set both inside and beside Fields; omit one.");
            }
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid_request(errors));
        }
        let gone: Vec<String> =
            fields.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name.clone()).collect();
        fields.retain(|_, value| !value.is_null());
        let done = sqlx::query(
            "UPDATE records.entity
                SET name = CASE WHEN $2 THEN coalesce($3, fields -> 'Ticket' ->> 'Summary', name) ELSE name END,
                    fields = (fields - $4::text[]) || $5
              WHERE id = $1 AND kind = 'Incident'",
        )
        .bind(id)
        .bind(change.name.is_some())
        .bind(change.name.flatten())
        .bind(gone)
        .bind(Value::Object(fields))
        .execute(&mut *transaction)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
