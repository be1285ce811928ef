//! `/api/webhookdeliveries`: what became of messages to webhooks.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::openapi::guid as guid_schema;
use longhaul_api::record::{self, Filter, Permissions, Record, guid, not_found, unknown};
use longhaul_api::{Access, ApiError, App, Caller, Operation, Resource, Routes, json_response, must_accept_json};
use longhaul_model::ProblemKind;
use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::schemars::JsonSchema;
use longhaul_model::store::{ShownJson, StoredTime, StoredTimeOption};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::permission::EDIT_WEBHOOKS;
use crate::problem::UNKNOWN_WEBHOOK_DELIVERY;
use crate::sender::message_id;

/// One attempt to deliver a message.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars", rename = "WebhookAttempt")]
pub(super) struct Attempt {
    at: DateTime<Utc>,
    /// The receiver's response, if there was one.
    status: Option<i32>,
    /// The time until the response or the failure, in milliseconds.
    latency_ms: i64,
    /// Why the delivery failed.
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
    /// `Pending`, `Delivered`, `Failed` (no further retry), `Skipped` (the webhook was disabled).
    state: String,
    /// The message's content.
    #[sqlx(try_from = "ShownJson")]
    body: Value,
    #[sqlx(try_from = "StoredTime")]
    created_at: DateTime<Utc>,
    #[sqlx(try_from = "StoredTimeOption")]
    delivered_at: Option<DateTime<Utc>>,
    /// The last 100 delivery attempts.
    #[schemars(with = "Vec<Attempt>")]
    attempts: Json<Vec<Attempt>>,
}

impl Record for WebhookDelivery {
    const ONE: &'static str = "webhookdelivery";
    const MANY: &'static str = "webhookdeliveries";
    const WORDS: (&'static str, &'static str) = ("a message to a webhook", "messages to webhooks");
    const SELECT: &'static str = "SELECT r.id, r.webhook_id, r.event, r.state, r.body, r.created_at, r.delivered_at, \
         (SELECT coalesce(jsonb_agg(jsonb_build_object('At', least(greatest(a.at, '0001-01-01Z'), '9999-12-31Z'), 'Status', a.status, \
                                                       'LatencyMs', a.latency_ms, 'Error', a.error) ORDER BY a.number), '[]') \
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

/// A message that will be sent.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars", rename = "WebhookMessage")]
pub(super) struct SentBody {
    /// Its record: `/api/webhookdelivery/{DeliveryId}`.
    delivery_id: Uuid,
    /// Its header `webhook-id`.
    message_id: String,
}

/// Adds the routes.
pub(super) fn add(routes: &mut Routes) {
    record::add::<WebhookDelivery>(routes);
    routes.add(
        Resource::at("/api/webhookdelivery/{id}/replay").post(
            replay,
            Operation::new("Records", "replayWebhookDelivery", "Sends a message again, under the same id.")
                .notes_itself()
                .needs(Access::Permission(EDIT_WEBHOOKS))
                .path("id", "The record's id.", guid_schema())
                .negotiated()
                .answers::<SentBody>(202, "The message will be sent.")
                .problem(not_found(UNKNOWN_WEBHOOK_DELIVERY)),
        ),
    );
}

/// `202` for a message that will be sent.
pub(super) fn on_its_way(delivery_id: Uuid) -> HttpResponse {
    json_response(StatusCode::ACCEPTED, &SentBody { delivery_id, message_id: message_id(delivery_id) })
}

async fn replay(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let id = guid::<WebhookDelivery>(&id)?;
    let mut transaction = app.pool().begin().await?;
    let known: bool =
        sqlx::query_scalar("SELECT records.replay_webhook($1)").bind(id).fetch_one(&mut *transaction).await?;
    if !known {
        return Err(unknown::<WebhookDelivery>(id));
    }
    caller.note(&mut transaction, "replayWebhookDelivery", request.path(), None).await?;
    transaction.commit().await?;
    Ok(on_its_way(id))
}
