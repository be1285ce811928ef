//! `DeliverWebhook`: sends a message to a webhook's receiver.

use std::time::Duration;

use longhaul_model::schemars::JsonSchema;
use longhaul_model::{
    CreateContext, CreateError, Keyring, Outcome, Progress, RetryPolicy, RunContext, RunError, TaskType,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use crate::permission::EDIT_WEBHOOKS;
use crate::problem::{UNKNOWN_WEBHOOK_DELIVERY, WEBHOOK_NOT_DELIVERED};
use crate::sender::{LONGEST_QUIET, Message, Sent, Webhooks, open, secret_bytes};

/// Sends a message to a webhook, and retries until its receiver accepts it: up to twelve times in
/// about 42 hours. Webhooks start these tasks; starting one manually sends the message again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars")]
pub struct DeliverWebhook {
    /// The message, from the webhook's list of deliveries.
    pub delivery_id: Uuid,
}

/// Messages are kept so long.
const KEPT_DAYS: i32 = 30;

#[derive(FromRow)]
struct Due {
    webhook_id: Uuid,
    url: String,
    secret: String,
    /// The one before, while it still counts.
    old_secret: Option<String>,
    enabled: bool,
    event: String,
    state: String,
    body: Value,
    now: i64,
}

impl TaskType for DeliverWebhook {
    const NAME: &'static str = "DeliverWebhook";
    const ID_PREFIX: &'static str = "deliverwebhook_";
    /// Of its own: slow receivers keep no other tasks waiting if it is limited.
    const QUEUE: &'static str = "webhook";
    const RETRY: RetryPolicy =
        RetryPolicy { max_attempts: 12, first_delay: Duration::from_secs(5), max_delay: LONGEST_QUIET };
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(300));
    const PROBLEMS: &'static [longhaul_model::ProblemKind] = &[UNKNOWN_WEBHOOK_DELIVERY];

    async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        context.require(EDIT_WEBHOOKS)?;
        let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM records.webhook_delivery WHERE id = $1)")
            .bind(self.delivery_id)
            .fetch_one(&context.pool)
            .await?;
        if known {
            return Ok(Progress::unknown());
        }
        let detail = format!("There is no webhook delivery {}; check DeliveryId.", self.delivery_id);
        Err(CreateError::Impossible { kind: UNKNOWN_WEBHOOK_DELIVERY, detail })
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let Some(due) = due(context.pool(), self.delivery_id).await? else {
            // The webhook was deleted.
            return Ok(Outcome::done());
        };
        if due.state == "Delivered" {
            // Its end was not stored the last time.
            return Ok(Outcome::done());
        }
        if !due.enabled && due.event != "ping" {
            self.set_state(context.pool(), "Skipped").await?;
            return Ok(Outcome::done());
        }
        let refused = |detail: String| RunError::transient(WEBHOOK_NOT_DELIVERED, detail);
        let webhooks = context
            .resources()
            .get::<Webhooks>()
            .ok_or_else(|| refused("This worker is not set up to send webhooks.".into()))?;
        let keyring = context.resources().get::<Keyring>().ok_or_else(|| {
            refused("This worker has no key to decrypt the webhook's secret: set LONGHAUL_SECRET_KEY.".into())
        })?;
        let bytes = |sealed: &str| secret_bytes(&open(keyring, due.webhook_id, sealed).ok()?);
        let secret = bytes(&due.secret)
            .ok_or_else(|| refused("The webhook's secret can't be decrypted; set a new one.".into()))?;
        let secrets: Vec<Vec<u8>> = std::iter::once(secret).chain(due.old_secret.as_deref().and_then(bytes)).collect();
        // A ping is sent by someone who waits for it.
        if due.event != "ping"
            && let Some(rest) = webhooks.quiet().rest(&due.webhook_id)
        {
            return Ok(Outcome::Snooze(rest));
        }
        let body = due.body.to_string();
        let message = Message { id: self.delivery_id, timestamp: due.now, body: &body };
        let sent = webhooks.send(&due.url, &secrets, &message).await;
        self.note(context.pool(), webhooks, due.webhook_id, &sent, context.attempt()).await?;
        match sent.retry_after {
            Some(wait) => webhooks.quiet().keep(due.webhook_id, wait),
            None if sent.error.is_none() => webhooks.quiet().end(&due.webhook_id),
            None => {}
        }
        match sent.error {
            None => Ok(Outcome::done()),
            // The receiver wants no more, says the specification.
            Some(error) if sent.status == Some(410) => Err(RunError::permanent(WEBHOOK_NOT_DELIVERED, error)),
            Some(error) => Err(match sent.retry_after {
                Some(wait) => RunError::not_before(wait, WEBHOOK_NOT_DELIVERED, error),
                None => RunError::transient(WEBHOOK_NOT_DELIVERED, error),
            }),
        }
    }
}

async fn due(pool: &PgPool, delivery: Uuid) -> sqlx::Result<Option<Due>> {
    sqlx::query_as(
        "SELECT w.id AS webhook_id, w.url, w.secret, w.enabled,
                CASE WHEN w.old_secret_until > clock_timestamp() THEN w.old_secret END AS old_secret,
                d.event, d.state, d.body,
                extract(epoch FROM clock_timestamp())::bigint AS now
           FROM records.webhook_delivery d JOIN records.webhook w ON w.id = d.webhook_id
          WHERE d.id = $1",
    )
    .bind(delivery)
    .fetch_optional(pool)
    .await
}

impl DeliverWebhook {
    async fn set_state(&self, pool: &PgPool, state: &str) -> sqlx::Result<()> {
        sqlx::query("UPDATE records.webhook_delivery SET state = $2 WHERE id = $1")
            .bind(self.delivery_id)
            .bind(state)
            .execute(pool)
            .await?;
        Ok(())
    }

    /// Writes down what came of it. If the worker dies before, the message is sent again
    /// under the same id.
    async fn note(
        &self,
        pool: &PgPool,
        webhooks: &Webhooks,
        webhook: Uuid,
        sent: &Sent,
        attempt: u16,
    ) -> sqlx::Result<()> {
        let mut transaction = pool.begin().await?;
        sqlx::query(
            "INSERT INTO records.webhook_attempt (delivery_id, status, latency_ms, error) VALUES ($1, $2, $3, $4)",
        )
        .bind(self.delivery_id)
        .bind(sent.status.map(i32::from))
        .bind(i64::try_from(sent.latency.as_millis()).unwrap_or(i64::MAX))
        .bind(&sent.error)
        .execute(&mut *transaction)
        .await?;
        if sent.error.is_none() {
            sqlx::query("UPDATE records.webhook_delivery SET state = 'Delivered', delivered_at = now() WHERE id = $1")
                .bind(self.delivery_id)
                .execute(&mut *transaction)
                .await?;
            sqlx::query("UPDATE records.webhook SET failing_since = NULL WHERE id = $1 AND failing_since IS NOT NULL")
                .bind(webhook)
                .execute(&mut *transaction)
                .await?;
            sqlx::query(
                "DELETE FROM records.webhook_delivery WHERE id IN (
                     SELECT d.id FROM records.webhook_delivery d
                      WHERE d.webhook_id = $1 AND d.created_at < now() - make_interval(days => $2) ORDER BY d.id LIMIT 100)",
            )
            .bind(webhook)
            .bind(KEPT_DAYS)
            .execute(&mut *transaction)
            .await?;
            return transaction.commit().await;
        }
        let gone = sent.status == Some(410);
        if gone || attempt >= Self::RETRY.max_attempts {
            sqlx::query("UPDATE records.webhook_delivery SET state = 'Failed' WHERE id = $1")
                .bind(self.delivery_id)
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query("UPDATE records.webhook SET failing_since = now() WHERE id = $1 AND failing_since IS NULL")
            .bind(webhook)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let because =
            if gone { "The receiver answered 410 Gone." } else { "No message could be delivered for too long." };
        sqlx::query(
            "UPDATE records.webhook SET enabled = false, disabled_because = $3
              WHERE id = $1 AND enabled AND ($4 OR failing_since <= now() - $2 * interval '1 second')",
        )
        .bind(webhook)
        .bind(webhooks.settings().disable_after.as_secs_f64())
        .bind(because)
        .bind(gone)
        .execute(pool)
        .await?;
        Ok(())
    }
}
