//! Signing and sending webhooks (Standard Webhooks, standardwebhooks.com).

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use longhaul_model::Keyring;
use longhaul_outbound::{Address, ConnectionFailure, GuardedResolver, Patience, Quiet, retry_after};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use reqwest::redirect::Policy;
use ring::hmac;
use uuid::Uuid;

/// A receiver is left alone for so long at most, whatever its `Retry-After` asks for.
pub(crate) const LONGEST_QUIET: Duration = Duration::from_secs(14 * 3600);

/// How webhooks are sent: a resource that the host gives to task types and routes.
pub struct Webhooks {
    http: reqwest::Client,
    settings: WebhookSettings,
    /// Webhooks whose receivers asked to be left alone.
    quiet: Quiet<Uuid>,
}

/// What can be set of the way to webhooks' receivers.
#[derive(Debug, Clone, Copy)]
pub struct WebhookSettings {
    /// Also send to loopback, private and link-local addresses, and without TLS. Off by
    /// default: whoever may enter an address could otherwise make this host talk to its
    /// neighbours.
    pub allow_private: bool,
    /// A receiver must answer in this time. Default 15 s.
    pub deadline: Duration,
    /// A webhook to which nothing could be delivered for so long is disabled. Default 5
    /// days.
    pub disable_after: Duration,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            allow_private: false,
            deadline: Duration::from_secs(15),
            disable_after: Duration::from_secs(5 * 24 * 3600),
        }
    }
}

/// A message on its way.
pub(crate) struct Message<'a> {
    /// Stays the same however often it is sent, so that receivers know it again.
    pub(crate) id: Uuid,
    /// Seconds since 1970 by the database's clock.
    pub(crate) timestamp: i64,
    pub(crate) body: &'a str,
}

/// What came of sending a message.
pub(crate) struct Sent {
    pub(crate) status: Option<u16>,
    pub(crate) latency: Duration,
    /// Why the delivery failed.
    pub(crate) error: Option<String>,
    /// When the receiver wants to be asked again, if it said so.
    pub(crate) retry_after: Option<Duration>,
}

impl Webhooks {
    /// A client for all receivers.
    ///
    /// # Errors
    /// If the system's certificates can't be read.
    pub fn new(settings: WebhookSettings) -> reqwest::Result<Self> {
        let http = longhaul_outbound::http_client()
            .dns_resolver(GuardedResolver { allow_private: settings.allow_private })
            // A proxy would resolve names for us, past the guard.
            .no_proxy()
            .connect_timeout(settings.deadline)
            .timeout(settings.deadline)
            // The answer of another address would say nothing about this one.
            .redirect(Policy::none())
            .build()?;
        Ok(Self { http, settings, quiet: Quiet::default() })
    }

    pub(crate) fn settings(&self) -> &WebhookSettings {
        &self.settings
    }

    /// Checks an address as it was entered, and again before it is used.
    pub(crate) fn check_url(&self, url: &str) -> Result<Address, String> {
        Address::parse(url, self.settings.allow_private)
    }

    /// Webhooks whose receivers asked this process to be left alone.
    pub(crate) fn quiet(&self) -> &Quiet<Uuid> {
        &self.quiet
    }

    /// Sends a message once, signed with each of these secrets.
    pub(crate) async fn send(&self, url: &str, secrets: &[Vec<u8>], message: &Message<'_>) -> Sent {
        let failed = |latency, error| Sent { status: None, latency, error: Some(error), retry_after: None };
        let url = match self.check_url(url) {
            Ok(url) => url.into_url(),
            Err(error) => return failed(Duration::ZERO, error),
        };
        let began = Instant::now();
        let id = message_id(message.id);
        let answer = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("longhaul/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &id)
            .header("webhook-timestamp", message.timestamp.to_string())
            .header("webhook-signature", signatures(secrets, &id, message.timestamp, message.body))
            .body(message.body.to_owned())
            .send()
            .await;
        let latency = began.elapsed();
        match answer {
            // The body is nothing to us; the connection is closed with it.
            Ok(answer) => {
                let status = answer.status();
                let error = (!status.is_success()).then(|| format!("The receiver answered {status}."));
                let is_busy = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
                let retry_after = retry_after(answer.headers(), LONGEST_QUIET).filter(|_| is_busy);
                Sent { status: Some(status.as_u16()), latency, error, retry_after }
            }
            Err(error) => {
                let patience = Patience { connect: self.settings.deadline, answer: self.settings.deadline };
                let failure = ConnectionFailure::of(&error, patience);
                failed(latency, format!("The receiver {}.", failure.words))
            }
        }
    }
}

/// The header `webhook-id`.
pub(crate) fn message_id(delivery: Uuid) -> String {
    format!("msg_{}", delivery.simple())
}

/// A signature: `v1,` and HMAC-SHA256 of id, timestamp and body.
fn signature(secret: &[u8], id: &str, timestamp: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

/// The header `webhook-signature`: one for each secret, with spaces between.
fn signatures(secrets: &[Vec<u8>], id: &str, timestamp: i64, body: &str) -> String {
    let each: Vec<String> = secrets.iter().map(|secret| signature(secret, id, timestamp, body)).collect();
    each.join(" ")
}

/// A new secret: 32 random bytes as the specification writes them.
pub(crate) fn new_secret() -> String {
    format!("whsec_{}", STANDARD.encode(rand::random::<[u8; 32]>()))
}

/// The bytes of a secret; `None` if it is none of 24 to 64 bytes.
pub(crate) fn secret_bytes(secret: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
    (24..=64).contains(&bytes.len()).then_some(bytes)
}

/// What a webhook's sealed secret is bound to.
fn bound_to(webhook: Uuid) -> String {
    format!("webhook {webhook}")
}

pub(crate) fn seal(keyring: &Keyring, webhook: Uuid, secret: &str) -> Option<String> {
    keyring.seal(bound_to(webhook).as_bytes(), secret.as_bytes().to_vec())
}

pub(crate) fn open(keyring: &Keyring, webhook: Uuid, sealed: &str) -> Result<String, String> {
    let plain = keyring.open(bound_to(webhook).as_bytes(), sealed).map_err(|error| error.to_string())?;
    String::from_utf8(plain).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{new_secret, secret_bytes, signature};

    #[test]
    fn a_signature_is_that_of_the_specifications_example() {
        // standard-webhooks, spec and the reference implementations' tests.
        let secret = secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let signed = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_has_24_to_64_bytes_behind_its_prefix() {
        assert_eq!(secret_bytes(&new_secret()).map(|bytes| bytes.len()), Some(32));
        for secret in ["", "whsec_", "whsec_AAAA", "whsec_!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert_eq!(secret_bytes(secret), None, "{secret}");
        }
    }
}
