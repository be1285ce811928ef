//! `/api/webhooks`: who is told of what.

use std::sync::LazyLock;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::openapi::guid as guid_schema;
use longhaul_api::record::{
    self, ALREADY_EXISTS, Changeable, Creatable, NO_SECRET_KEY, Permissions, Record, given, guid, not_found, unknown,
};
use longhaul_api::{Access, ApiError, App, Caller, Operation, Resource, Routes, json_response, must_accept_json};
use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::schemars::JsonSchema;
use longhaul_model::store::{StoredTexts, StoredTextsOption, StoredTime, StoredTimeOption};
use longhaul_model::{Keyring, ParameterError, ProblemKind, Shape};
use longhaul_outbound::Address;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::delivery::{SentBody, on_its_way};
use crate::permission::EDIT_WEBHOOKS;
use crate::problem::UNKNOWN_WEBHOOK;
use crate::sender::{Webhooks, new_secret, open, seal, secret_bytes};

/// A change of a task's state that webhooks can report.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "longhaul_model::schemars", rename = "WebhookState")]
pub(super) enum State {
    Succeeded,
    Failed,
    Cancelled,
    Retrying,
}

fn ends() -> Vec<State> {
    vec![State::Succeeded, State::Failed, State::Cancelled]
}

/// A webhook as the API shows it. Its secret has a separate address.
#[derive(Serialize, FromRow, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars")]
pub(super) struct Webhook {
    id: Uuid,
    url: String,
    description: String,
    /// Only tasks of these types; null means all types.
    #[sqlx(try_from = "StoredTextsOption")]
    types: Option<Vec<String>>,
    /// Only tasks of these queues; null means all queues.
    #[sqlx(try_from = "StoredTextsOption")]
    queues: Option<Vec<String>>,
    #[schemars(with = "Vec<State>")]
    #[sqlx(try_from = "StoredTexts")]
    states: Vec<String>,
    enabled: bool,
    #[sqlx(try_from = "StoredTime")]
    created_at: DateTime<Utc>,
    /// Since when no message could be delivered, if the last one failed.
    #[sqlx(try_from = "StoredTimeOption")]
    failing_since: Option<DateTime<Utc>>,
    /// Why it was disabled automatically.
    disabled_because: Option<String>,
    /// Until when messages are also signed with the previous secret.
    #[sqlx(try_from = "StoredTimeOption")]
    old_secret_until: Option<DateTime<Utc>>,
}

/// A new webhook.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars", rename = "NewWebhook")]
pub(super) struct New {
    #[serde(default)]
    id: Option<Uuid>,
    #[schemars(length(min = 1, max = 2000))]
    url: String,
    #[serde(default)]
    #[schemars(length(max = 1000))]
    description: String,
    #[serde(default)]
    #[schemars(length(min = 1, max = 100))]
    types: Option<Vec<String>>,
    #[serde(default)]
    #[schemars(length(min = 1, max = 100))]
    queues: Option<Vec<String>>,
    #[serde(default = "ends")]
    #[schemars(length(min = 1, max = 4))]
    states: Vec<State>,
    #[serde(default = "yes")]
    enabled: bool,
    /// `whsec_` and the base64 of 24 to 64 bytes. Default: a random secret.
    #[serde(default)]
    secret: Option<String>,
}

fn yes() -> bool {
    true
}

/// Changes of a webhook.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars", rename = "WebhookChange")]
pub(super) struct Change {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 2000))]
    url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 1000))]
    description: Option<String>,
    /// Null: all.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<Vec<String>>")]
    types: Option<Option<Vec<String>>>,
    /// Null: all.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<Vec<String>>")]
    queues: Option<Option<Vec<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<State>", length(min = 1, max = 4))]
    states: Option<Vec<State>>,
    /// True also resets the time since which no message could be delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    enabled: Option<bool>,
    /// A new secret. Messages are signed with it from now on, and for some time also with the
    /// previous one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    secret: Option<String>,
    /// For how many hours from now messages are also signed with the previous secret. Default with
    /// a new secret: 24. 0 ends it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32", range(min = 0, max = 720))]
    old_secret_hours: Option<i32>,
}

/// How long the secret before counts, unless said otherwise.
const OLD_SECRET_HOURS: i32 = 24;

impl Record for Webhook {
    const ONE: &'static str = "webhook";
    const MANY: &'static str = "webhooks";
    const WORDS: (&'static str, &'static str) = ("a webhook", "webhooks");
    const SELECT: &'static str = "SELECT r.id, r.url, r.description, r.types, r.queues, r.states, r.enabled, \
                                  r.created_at, r.failing_since, r.disabled_because, \
                                  CASE WHEN r.old_secret_until > now() THEN r.old_secret_until END AS old_secret_until \
                                  FROM records.webhook AS r";
    const DELETE: Option<&'static str> = Some("DELETE FROM records.webhook WHERE id = $1");
    const UNKNOWN: ProblemKind = UNKNOWN_WEBHOOK;
    const PERMISSIONS: Permissions = Permissions { view: EDIT_WEBHOOKS, edit: EDIT_WEBHOOKS };

    fn id(&self) -> Uuid {
        self.id
    }

    fn links(&self) -> Vec<(&'static str, String)> {
        vec![
            ("Deliveries", format!("/api/webhookdeliveries?webhook={}", self.id)),
            ("Secret", format!("/api/webhook/{}/secret", self.id)),
        ]
    }
}

fn invalid(pointer: &str, message: impl Into<String>) -> ApiError {
    ApiError::invalid_request(vec![ParameterError { pointer: pointer.to_owned(), message: message.into() }])
}

/// The address, if a webhook may be there.
fn check_url(app: &App, url: &str) -> Result<Address, ApiError> {
    let webhooks = app.resources().get::<Webhooks>().ok_or_else(|| ApiError::internal("the host gives no Webhooks"))?;
    webhooks.check_url(url).map_err(|message| invalid("/Url", message))
}

fn keyring(app: &App) -> Result<&Keyring, ApiError> {
    app.resources().get::<Keyring>().ok_or_else(|| {
        ApiError::new(
            NO_SECRET_KEY,
            "A webhook's secret can't be stored: the operator of this host must set LONGHAUL_SECRET_KEY.",
        )
    })
}

fn sealed(app: &App, id: Uuid, secret: &str) -> Result<String, ApiError> {
    if secret_bytes(secret).is_none() {
        return Err(invalid("/Secret", "whsec_ and the base64 of 24 to 64 bytes are expected."));
    }
    seal(keyring(app)?, id, secret).ok_or_else(|| ApiError::internal("no randomness"))
}

fn names(states: &[State]) -> Vec<String> {
    states.iter().map(|state| format!("{state:?}")).collect()
}

/// Puts a new secret in the place of the present one, which counts for some hours more.
async fn replace_secret(
    app: &App,
    transaction: &mut PgConnection,
    id: Uuid,
    new: &str,
    old_hours: Option<i32>,
) -> Result<(), ApiError> {
    let sealed = sealed(app, id, new)?;
    let present: Option<String> = sqlx::query_scalar("SELECT secret FROM records.webhook WHERE id = $1 FOR UPDATE")
        .bind(id)
        .fetch_optional(&mut *transaction)
        .await?;
    // A request that is sent again must not make the new secret the old one.
    let keyring = keyring(app)?;
    if present.is_some_and(|present| open(keyring, id, &present).is_ok_and(|present| present == new)) {
        return match old_hours {
            Some(hours) => Ok(change_overlap(transaction, id, hours).await?),
            None => Ok(()),
        };
    }
    sqlx::query(
        "UPDATE records.webhook
            SET secret = $2, old_secret = CASE WHEN $3 > 0 THEN secret END,
                old_secret_until = CASE WHEN $3 > 0 THEN now() + make_interval(hours => $3) END
          WHERE id = $1",
    )
    .bind(id)
    .bind(sealed)
    .bind(old_hours.unwrap_or(OLD_SECRET_HOURS))
    .execute(transaction)
    .await?;
    Ok(())
}

/// The secret before, if it still counts, does for so many hours from now.
async fn change_overlap(transaction: &mut PgConnection, id: Uuid, hours: i32) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE records.webhook
            SET old_secret = CASE WHEN $2 > 0 THEN old_secret END,
                old_secret_until = CASE WHEN $2 > 0 THEN now() + make_interval(hours => $2) END
          WHERE id = $1 AND old_secret_until > now()",
    )
    .bind(id)
    .bind(hours)
    .execute(transaction)
    .await?;
    Ok(())
}

impl Creatable for Webhook {
    type New = New;

    const PROBLEMS: &'static [ProblemKind] = &[ALREADY_EXISTS, NO_SECRET_KEY];

    fn shape() -> &'static Shape<New> {
        static SHAPE: LazyLock<Shape<New>> = LazyLock::new(Shape::new);
        &SHAPE
    }

    async fn insert(app: &App, transaction: &mut PgConnection, new: New) -> Result<Uuid, ApiError> {
        let id = new.id.unwrap_or_else(Uuid::now_v7);
        let url = check_url(app, &new.url)?;
        let secret = sealed(app, id, &new.secret.unwrap_or_else(new_secret))?;
        sqlx::query(
            "INSERT INTO records.webhook (id, url, description, types, queues, states, enabled, secret)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id)
        .bind(url.as_str())
        .bind(&new.description)
        .bind(&new.types)
        .bind(&new.queues)
        .bind(names(&new.states))
        .bind(new.enabled)
        .bind(secret)
        .execute(&mut *transaction)
        .await
        .map_err(record::refused)?;
        Ok(id)
    }
}

impl Changeable for Webhook {
    type Change = Change;

    const CHANGE_PROBLEMS: &'static [ProblemKind] = &[NO_SECRET_KEY];

    fn change_shape() -> &'static Shape<Change> {
        static SHAPE: LazyLock<Shape<Change>> = LazyLock::new(Shape::new);
        &SHAPE
    }

    async fn update(app: &App, transaction: &mut PgConnection, id: Uuid, change: Change) -> Result<bool, ApiError> {
        let url = change.url.as_deref().map(|url| check_url(app, url)).transpose()?;
        let done = sqlx::query(
            "UPDATE records.webhook
                SET url = coalesce($2, url), description = coalesce($3, description),
                    types = CASE WHEN $4 THEN $5 ELSE types END, queues = CASE WHEN $6 THEN $7 ELSE queues END,
                    states = coalesce($8, states)
              WHERE id = $1",
        )
        .bind(id)
        .bind(url.as_ref().map(Address::as_str))
        .bind(&change.description)
        .bind(change.types.is_some())
        .bind(change.types.flatten())
        .bind(change.queues.is_some())
        .bind(change.queues.flatten())
        .bind(change.states.as_deref().map(names))
        .execute(&mut *transaction)
        .await?;
        match (change.secret, change.old_secret_hours) {
            (Some(secret), hours) => replace_secret(app, transaction, id, &secret, hours).await?,
            (None, Some(hours)) => change_overlap(transaction, id, hours).await?,
            (None, None) => {}
        }
        // By itself: it may have to wait for a lock on the tasks.
        if let Some(enabled) = change.enabled {
            sqlx::query(
                "UPDATE records.webhook SET enabled = $2, failing_since = NULL, disabled_because = NULL WHERE id = $1",
            )
            .bind(id)
            .bind(enabled)
            .execute(&mut *transaction)
            .await?;
        }
        Ok(done.rows_affected() > 0)
    }
}

/// A webhook's secret.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars", rename = "WebhookSecret")]
struct SecretBody {
    /// The secret that signs its messages.
    secret: String,
}

/// Adds the routes.
pub(super) fn add(routes: &mut Routes) {
    record::add_creatable_and_changeable::<Webhook>(routes);
    let operation = |id, summary| {
        Operation::new("Records", id, summary)
            .notes_itself()
            .needs(Access::Permission(EDIT_WEBHOOKS))
            .path("id", "The record's id.", guid_schema())
            .negotiated()
    };
    routes.add(
        Resource::at("/api/webhook/{id}/secret").get(
            secret,
            operation("getWebhookSecret", "Returns a webhook's signing secret.")
                .answers::<SecretBody>(200, "The secret.")
                .problem(NO_SECRET_KEY)
                .problem(not_found(UNKNOWN_WEBHOOK)),
        ),
    );
    routes.add(
        Resource::at("/api/webhook/{id}/ping").post(
            ping,
            operation("pingWebhook", "Sends a ping message, even if the webhook is disabled.")
                .answers::<SentBody>(202, "The message will be sent.")
                .problem(not_found(UNKNOWN_WEBHOOK)),
        ),
    );
}

/// It changes nothing, but tells what is secret: that is written down first.
async fn secret(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let id = guid::<Webhook>(&id)?;
    let stored: Option<String> = sqlx::query_scalar("SELECT secret FROM records.webhook WHERE id = $1")
        .bind(id)
        .fetch_optional(app.pool())
        .await?;
    let stored = stored.ok_or_else(|| unknown::<Webhook>(id))?;
    let secret = open(keyring(&app)?, id, &stored).map_err(|detail| {
        ApiError::new(NO_SECRET_KEY, format!("The webhook's secret can't be decrypted: {detail}. Set a new one."))
    })?;
    caller.note(&mut *app.pool().acquire().await?, "getWebhookSecret", request.path(), None).await?;
    Ok(json_response(StatusCode::OK, &SecretBody { secret }))
}

async fn ping(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let id = guid::<Webhook>(&id)?;
    let mut transaction = app.pool().begin().await?;
    let sent: Option<Uuid> = sqlx::query_scalar(
        "SELECT records.send_webhook(w.id, 'ping', NULL, $2) FROM records.webhook w WHERE w.id = $1",
    )
    .bind(id)
    .bind(json!({}))
    .fetch_optional(&mut *transaction)
    .await?;
    let sent = sent.ok_or_else(|| unknown::<Webhook>(id))?;
    caller.note(&mut transaction, "pingWebhook", request.path(), None).await?;
    transaction.commit().await?;
    Ok(on_its_way(sent))
}
