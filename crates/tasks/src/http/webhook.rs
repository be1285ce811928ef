//! `/api/webhooks`: who is told of what, and `/api/webhookdeliveries`: what became of it.

use std::sync::LazyLock;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::openapi::guid as guid_schema;
use longhaul_api::{Access, ApiError, App, Operation, Resource, Routes, json_response, must_accept_json};
use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::schemars::JsonSchema;
use longhaul_model::{Keyring, ParameterError, ProblemKind, Shape};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::page::Filter;
use super::record::{self, Changeable, Creatable, Permissions, Record, given, guid, unknown};
use crate::permission::EDIT_WEBHOOKS;
use crate::problem::{NO_SECRET_KEY, UNKNOWN_WEBHOOK, UNKNOWN_WEBHOOK_DELIVERY, not_found};
use crate::webhook::{Webhooks, message_id, new_secret, open, seal, secret_bytes};

/// A change of a task's state that webhooks are told of.
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

/// A webhook as it is shown; its secret has an address of its own.
#[derive(Serialize, FromRow, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars")]
pub(super) struct Webhook {
    id: Uuid,
    url: String,
    description: String,
    /// Tasks of these types; null: of all.
    types: Option<Vec<String>>,
    /// Tasks of these queues; null: of all.
    queues: Option<Vec<String>>,
    #[schemars(with = "Vec<State>")]
    states: Vec<String>,
    enabled: bool,
    created_at: DateTime<Utc>,
    /// Since when nothing has been delivered, if the last message was not.
    failing_since: Option<DateTime<Utc>>,
    /// Why it was disabled, if nobody did.
    disabled_because: Option<String>,
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
    /// `whsec_` and the base64 of 24 to 64 bytes; one is made if absent.
    #[serde(default)]
    secret: Option<String>,
}

fn yes() -> bool {
    true
}

/// What to change of a webhook.
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
    /// True also forgets for how long nothing has been delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    enabled: Option<bool>,
    /// A new secret; messages are signed with it from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    secret: Option<String>,
}

impl Record for Webhook {
    const ONE: &'static str = "webhook";
    const MANY: &'static str = "webhooks";
    const WORDS: (&'static str, &'static str) = ("a webhook", "webhooks");
    const SELECT: &'static str = "SELECT r.id, r.url, r.description, r.types, r.queues, r.states, r.enabled, \
                                  r.created_at, r.failing_since, r.disabled_because FROM records.webhook AS r";
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
fn check_url(app: &App, url: &str) -> Result<(), ApiError> {
    let webhooks = app.resources().get::<Webhooks>().ok_or_else(|| ApiError::internal("the host gives no Webhooks"))?;
    webhooks.check_url(url).map(drop).map_err(|message| invalid("/Url", message))
}

fn keyring(app: &App) -> Result<&Keyring, ApiError> {
    app.resources().get::<Keyring>().ok_or_else(|| {
        ApiError::new(
            NO_SECRET_KEY,
            "A webhook's secret can't be stored: whoever runs this host must set LONGHAUL_SECRET_KEY.",
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

impl Creatable for Webhook {
    type New = New;

    const PROBLEMS: &'static [ProblemKind] = &[crate::problem::ALREADY_EXISTS, NO_SECRET_KEY];

    fn shape() -> &'static Shape<New> {
        static SHAPE: LazyLock<Shape<New>> = LazyLock::new(Shape::new);
        &SHAPE
    }

    async fn insert(app: &App, new: New) -> Result<Uuid, ApiError> {
        let id = new.id.unwrap_or_else(Uuid::now_v7);
        check_url(app, &new.url)?;
        let secret = sealed(app, id, &new.secret.unwrap_or_else(new_secret))?;
        sqlx::query(
            "INSERT INTO records.webhook (id, url, description, types, queues, states, enabled, secret)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id)
        .bind(&new.url)
        .bind(&new.description)
        .bind(&new.types)
        .bind(&new.queues)
        .bind(names(&new.states))
        .bind(new.enabled)
        .bind(secret)
        .execute(app.pool())
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

    async fn update(app: &App, id: Uuid, change: Change) -> Result<bool, ApiError> {
        if let Some(url) = &change.url {
            check_url(app, url)?;
        }
        let secret = change.secret.map(|secret| sealed(app, id, &secret)).transpose()?;
        let mut transaction = app.pool().begin().await?;
        let done = sqlx::query(
            "UPDATE records.webhook
                SET url = coalesce($2, url), description = coalesce($3, description),
                    types = CASE WHEN $4 THEN $5 ELSE types END, queues = CASE WHEN $6 THEN $7 ELSE queues END,
                    states = coalesce($8, states), secret = coalesce($9, secret)
              WHERE id = $1",
        )
        .bind(id)
        .bind(&change.url)
        .bind(&change.description)
        .bind(change.types.is_some())
        .bind(change.types.flatten())
        .bind(change.queues.is_some())
        .bind(change.queues.flatten())
        .bind(change.states.as_deref().map(names))
        .bind(secret)
        .execute(&mut *transaction)
        .await?;
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
        transaction.commit().await?;
        Ok(done.rows_affected() > 0)
    }
}

/// One try to deliver a message.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars", rename = "WebhookAttempt")]
pub(super) struct Attempt {
    at: DateTime<Utc>,
    /// What the receiver answered, if it did.
    status: Option<i32>,
    /// How long it took to answer or to fail, in milliseconds.
    latency_ms: i64,
    /// Why it does not count as delivered.
    error: Option<String>,
}

/// A message to a webhook.
#[derive(Serialize, FromRow, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars")]
pub(super) struct WebhookDelivery {
    id: Uuid,
    webhook_id: Uuid,
    /// `task.succeeded` and the like, or `ping`.
    event: String,
    /// `Pending`, `Delivered`, `Failed` (given up), `Skipped` (the webhook was disabled).
    state: String,
    /// What was sent, or is to be.
    #[sqlx(json)]
    body: Value,
    created_at: DateTime<Utc>,
    delivered_at: Option<DateTime<Utc>>,
    /// The tries so far, the last 100.
    #[schemars(with = "Vec<Attempt>")]
    attempts: Json<Vec<Attempt>>,
}

impl Record for WebhookDelivery {
    const ONE: &'static str = "webhookdelivery";
    const MANY: &'static str = "webhookdeliveries";
    const WORDS: (&'static str, &'static str) = ("a message to a webhook", "messages to webhooks");
    const SELECT: &'static str = "SELECT r.id, r.webhook_id, r.event, r.state, r.body, r.created_at, r.delivered_at, \
         (SELECT coalesce(jsonb_agg(jsonb_build_object('At', a.at, 'Status', a.status, 'LatencyMs', a.latency_ms, \
                                                       'Error', a.error) ORDER BY a.number), '[]') \
            FROM (SELECT * FROM records.webhook_attempt t WHERE t.delivery_id = r.id ORDER BY t.number DESC LIMIT 100) a \
         ) AS attempts FROM records.webhook_delivery AS r";
    const DELETE: Option<&'static str> = None;
    const FILTERS: &'static [Filter] = &[Filter { name: "webhook", column: "r.webhook_id" }];
    const UNKNOWN: ProblemKind = UNKNOWN_WEBHOOK_DELIVERY;
    const PERMISSIONS: Permissions = Permissions { view: EDIT_WEBHOOKS, edit: EDIT_WEBHOOKS };

    fn id(&self) -> Uuid {
        self.id
    }

    fn links(&self) -> Vec<(&'static str, String)> {
        vec![("Webhook", format!("/api/webhook/{}", self.webhook_id))]
    }
}

/// A webhook's secret.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars", rename = "WebhookSecret")]
struct SecretBody {
    /// What its messages are signed with.
    secret: String,
}

/// A message that is on its way.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars", rename = "WebhookMessage")]
struct SentBody {
    /// Its record: `/api/webhookdelivery/{DeliveryId}`.
    delivery_id: Uuid,
    /// The header `webhook-id` that it has.
    message_id: String,
}

/// Adds the routes.
pub(super) fn add(routes: &mut Routes) {
    record::add_creatable_and_changeable::<Webhook>(routes);
    record::add::<WebhookDelivery>(routes);
    let operation = |id, summary| {
        Operation::new("Records", id, summary)
            .needs(Access::Permission(EDIT_WEBHOOKS))
            .path("id", "The record's id.", guid_schema())
            .negotiated()
    };
    routes.add(
        Resource::at("/api/webhook/{id}/secret").get(
            secret,
            operation("getWebhookSecret", "Shows what a webhook's messages are signed with.")
                .answers::<SecretBody>(200, "The secret.")
                .problem(NO_SECRET_KEY)
                .problem(not_found(UNKNOWN_WEBHOOK)),
        ),
    );
    routes.add(
        Resource::at("/api/webhook/{id}/ping").post(
            ping,
            operation("pingWebhook", "Sends a message of the type ping, also if the webhook is disabled.")
                .answers::<SentBody>(202, "It is on its way.")
                .problem(not_found(UNKNOWN_WEBHOOK)),
        ),
    );
    routes.add(
        Resource::at("/api/webhookdelivery/{id}/replay").post(
            replay,
            operation("replayWebhookDelivery", "Sends a message again, under the same id.")
                .answers::<SentBody>(202, "It is on its way.")
                .problem(not_found(UNKNOWN_WEBHOOK_DELIVERY)),
        ),
    );
}

async fn secret(app: web::Data<App>, id: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let id = guid::<Webhook>(&id)?;
    let stored: Option<String> = sqlx::query_scalar("SELECT secret FROM records.webhook WHERE id = $1")
        .bind(id)
        .fetch_optional(app.pool())
        .await?;
    let stored = stored.ok_or_else(|| unknown::<Webhook>(id))?;
    let secret = open(keyring(&app)?, id, &stored).map_err(|detail| {
        ApiError::new(NO_SECRET_KEY, format!("The secret can't be opened: {detail}. Give the webhook a new one."))
    })?;
    Ok(json_response(StatusCode::OK, &SecretBody { secret }))
}

fn on_its_way(delivery_id: Uuid) -> HttpResponse {
    json_response(StatusCode::ACCEPTED, &SentBody { delivery_id, message_id: message_id(delivery_id) })
}

async fn ping(app: web::Data<App>, id: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let id = guid::<Webhook>(&id)?;
    let sent: Option<Uuid> = sqlx::query_scalar(
        "SELECT records.send_webhook(w.id, 'ping', NULL, $2) FROM records.webhook w WHERE w.id = $1",
    )
    .bind(id)
    .bind(json!({}))
    .fetch_optional(app.pool())
    .await?;
    sent.map(on_its_way).ok_or_else(|| unknown::<Webhook>(id))
}

async fn replay(app: web::Data<App>, id: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let id = guid::<WebhookDelivery>(&id)?;
    let known: bool = sqlx::query_scalar("SELECT records.replay_webhook($1)").bind(id).fetch_one(app.pool()).await?;
    if known { Ok(on_its_way(id)) } else { Err(unknown::<WebhookDelivery>(id)) }
}
