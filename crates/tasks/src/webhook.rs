//! Signing and sending webhooks (Standard Webhooks, standardwebhooks.com).

use std::error::Error as StdError;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use longhaul_model::Keyring;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use reqwest::redirect::Policy;
use uuid::Uuid;

use crate::trackers::address::{GuardedResolver, check_host};

/// How webhooks are sent: a resource that the host gives to task types and routes.
pub struct Webhooks {
    http: reqwest::Client,
    settings: WebhookSettings,
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
    /// Why it does not count as delivered.
    pub(crate) error: Option<String>,
}

impl Webhooks {
    /// A client for all receivers.
    ///
    /// # Errors
    /// When the system's certificates can't be read.
    pub fn new(settings: WebhookSettings) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .dns_resolver(GuardedResolver { allow_private: settings.allow_private })
            // A proxy would resolve names for us, past the guard.
            .no_proxy()
            .connect_timeout(settings.deadline)
            .timeout(settings.deadline)
            // The answer of another address would say nothing about this one.
            .redirect(Policy::none())
            .build()?;
        Ok(Self { http, settings })
    }

    pub(crate) fn settings(&self) -> &WebhookSettings {
        &self.settings
    }

    /// Checks an address as it was entered, and again before it is used.
    pub(crate) fn check_url(&self, url: &str) -> Result<Url, String> {
        let url = Url::parse(url).map_err(|error| format!("The address is no URL: {error}."))?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("The address must have no user name, password or #.".to_owned());
        }
        check_host(&url, self.settings.allow_private)?;
        Ok(url)
    }

    /// Sends a message once.
    pub(crate) async fn send(&self, url: &str, secret: &[u8], message: &Message<'_>) -> Sent {
        let url = match self.check_url(url) {
            Ok(url) => url,
            Err(error) => return Sent { status: None, latency: Duration::ZERO, error: Some(error) },
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
            .header("webhook-signature", signature(secret, &id, message.timestamp, message.body))
            .body(message.body.to_owned())
            .send()
            .await;
        let latency = began.elapsed();
        match answer {
            // The body is nothing to us; the connection is closed with it.
            Ok(answer) => {
                let status = answer.status();
                let error = (!status.is_success()).then(|| format!("The receiver answered {status}."));
                Sent { status: Some(status.as_u16()), latency, error }
            }
            Err(error) => Sent { status: None, latency, error: Some(told(&error, self.settings.deadline)) },
        }
    }
}

/// In words that name no address within: those may be nobody's business.
fn told(error: &reqwest::Error, deadline: Duration) -> String {
    if error.is_timeout() {
        return format!("The receiver did not answer within {} s.", deadline.as_secs_f32());
    }
    let mut source: Option<&(dyn StdError + 'static)> = error.source();
    let mut last = String::new();
    while let Some(cause) = source {
        last = cause.to_string();
        source = cause.source();
    }
    format!("The receiver could not be reached: {last}.")
}

/// The header `webhook-id`.
pub(crate) fn message_id(delivery: Uuid) -> String {
    format!("msg_{}", delivery.simple())
}

/// The header `webhook-signature`: `v1,` and HMAC-SHA256 of id, timestamp and body.
fn signature(secret: &[u8], id: &str, timestamp: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
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
