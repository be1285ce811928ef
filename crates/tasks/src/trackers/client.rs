//! HTTP to trackers: bounded in time, size and number, retried with care.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longhaul_model::chrono::DateTime;
use longhaul_telemetry::Span;
use reqwest::header::{ACCEPT, DATE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode, Url};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::address::{GuardedResolver, NoPublicAddress};
use super::{Credentials, TrackerError, TrackerSettings};

/// An answer with more bytes than this is none that we asked for.
const ANSWER_LIMIT: usize = 4 * 1024 * 1024;
/// A host that does not even accept a connection in this time is away.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// The wait before the second try; doubled for each further one.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const MOST_REDIRECTS: usize = 3;

/// The one HTTP client for all trackers.
pub(super) struct Client {
    http: reqwest::Client,
    deadline: Duration,
    tries: u32,
    at_once: usize,
    slots: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// How a tracker is told who asks.
pub(super) enum Auth {
    Nobody,
    Basic { username: String, secret: String },
    Bearer(String),
    Header { name: &'static str, secret: String },
}

impl Auth {
    /// Basic with a user name, else Bearer.
    pub(super) fn account(credentials: Option<Credentials>) -> Self {
        match credentials {
            None => Auth::Nobody,
            Some(Credentials { username: Some(username), secret }) => Auth::Basic { username, secret },
            Some(Credentials { username: None, secret }) => Auth::Bearer(secret),
        }
    }

    /// The secret in a header of its own.
    pub(super) fn header(name: &'static str, credentials: Option<Credentials>) -> Self {
        credentials.map_or(Auth::Nobody, |credentials| Auth::Header { name, secret: credentials.secret })
    }
}

/// One try.
enum Try {
    Answered(Option<Value>),
    Failed(TrackerError),
    /// May be different in a moment.
    Again(TrackerError),
}

impl Client {
    pub(super) fn new(settings: &TrackerSettings) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("longhaul/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(GuardedResolver { allow_private: settings.allow_private })
            // A proxy would resolve names for us, past the guard.
            .no_proxy()
            .connect_timeout(CONNECT_PATIENCE.min(settings.deadline))
            .timeout(settings.deadline)
            .pool_max_idle_per_host(settings.at_once)
            .redirect(same_origin())
            .build()?;
        Ok(Self {
            http,
            deadline: settings.deadline,
            tries: settings.tries.max(1),
            at_once: settings.at_once.max(1),
            slots: Mutex::default(),
        })
    }

    /// The JSON at this address; `None` if the tracker says that there is none
    /// (404, 410).
    pub(super) async fn get(&self, url: Url, auth: &Auth) -> Result<Option<Value>, TrackerError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let until = Instant::now() + self.deadline;
        tokio::time::timeout_at(until, self.try_on(url, auth, until)).await.unwrap_or_else(|_| {
            let detail = format!("The tracker {host} did not answer within {} s.", self.deadline.as_secs_f32());
            Err(TrackerError::Unavailable { detail, retry_after: None })
        })
    }

    async fn try_on(&self, url: Url, auth: &Auth, until: Instant) -> Result<Option<Value>, TrackerError> {
        let slots = self.slots(&url);
        let mut delay = FIRST_DELAY;
        for left in (0..self.tries).rev() {
            let tried = match slots.acquire().await {
                Ok(_slot) => self.once(url.clone(), auth).await,
                Err(closed) => return Err(TrackerError::Misbehaved(closed.to_string())),
            };
            let error = match tried {
                Try::Answered(answer) => return Ok(answer),
                Try::Failed(error) => return Err(error),
                Try::Again(error) => error,
            };
            let asked = match &error {
                TrackerError::Unavailable { retry_after, .. } => *retry_after,
                _ => None,
            };
            // A jitter of a quarter, so that those who failed together do not
            // come back together.
            let wait = asked.unwrap_or(delay).mul_f64(1.0 + 0.25 * rand::random::<f64>());
            if left == 0 || Instant::now() + wait >= until {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            delay *= 2;
        }
        Err(TrackerError::Misbehaved("The tracker was not asked.".to_owned()))
    }

    async fn once(&self, url: Url, auth: &Auth) -> Try {
        let host = url.host_str().unwrap_or_default().to_owned();
        let mut request = self.http.get(url).header(ACCEPT, "application/json");
        request = match auth {
            Auth::Nobody => request,
            Auth::Basic { username, secret } => request.basic_auth(username, Some(secret)),
            Auth::Bearer(secret) => request.bearer_auth(secret),
            Auth::Header { name, secret } => request.header(*name, secret),
        };
        let span = Span::call("GET", &host);
        for (name, value) in span.headers() {
            request = request.header(name, value);
        }
        let sent = span.around(request.send()).await;
        span.called(sent.as_ref().map(|response| response.status().as_u16()).map_err(|_| "no answer"));
        let response = match sent {
            Ok(response) => response,
            Err(error) => return broken(&host, &error),
        };
        match response.status() {
            StatusCode::OK => read(&host, response).await,
            StatusCode::NOT_FOUND | StatusCode::GONE => Try::Answered(None),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Try::Failed(TrackerError::Refused(format!(
                "The tracker {host} answered {}: the credentials of the external system are wrong or may not see this.",
                status.as_u16()
            ))),
            status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                Try::Again(TrackerError::Unavailable {
                    detail: format!("The tracker {host} answered {}.", status.as_u16()),
                    retry_after: retry_after(response.headers()),
                })
            }
            status if status.is_redirection() => Try::Failed(TrackerError::Misbehaved(format!(
                "The tracker {host} answered {} and points to another host; enter the address that it points to.",
                status.as_u16()
            ))),
            status => Try::Failed(TrackerError::Misbehaved(format!(
                "The tracker {host} answered {}, which was not expected.",
                status.as_u16()
            ))),
        }
    }

    /// The places for requests to the tracker at this address.
    fn slots(&self, url: &Url) -> Arc<Semaphore> {
        let origin = url.origin().ascii_serialization();
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(origin).or_insert_with(|| Arc::new(Semaphore::new(self.at_once))))
    }
}

/// Credentials in a header of ours would follow a redirect anywhere, so only
/// those within one origin are followed.
fn same_origin() -> Policy {
    Policy::custom(|attempt| {
        let first = attempt.previous().first().map(Url::origin);
        if attempt.previous().len() > MOST_REDIRECTS || first != Some(attempt.url().origin()) {
            attempt.stop()
        } else {
            attempt.follow()
        }
    })
}

async fn read(host: &str, mut response: Response) -> Try {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > ANSWER_LIMIT => {
                let detail = format!("The tracker {host} answered more than {ANSWER_LIMIT} bytes.");
                return Try::Failed(TrackerError::Misbehaved(detail));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return broken(host, &error),
        }
    }
    match serde_json::from_slice(&body) {
        Ok(answer) => Try::Answered(Some(answer)),
        Err(_) => Try::Failed(TrackerError::Misbehaved(format!(
            "The tracker {host} did not answer JSON; is the address of the external system its root?"
        ))),
    }
}

/// No answer, or half of one.
fn broken(host: &str, error: &reqwest::Error) -> Try {
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = source {
        if cause.is::<NoPublicAddress>() {
            return Try::Failed(TrackerError::NotAllowed(format!(
                "{host} has no public address, and private ones are not allowed here."
            )));
        }
        source = cause.source();
    }
    tracing::debug!(host, ?error, "a tracker can't be reached");
    let what = if error.is_timeout() { "did not answer in time" } else { "can't be reached" };
    Try::Again(TrackerError::Unavailable { detail: format!("The tracker {host} {what}."), retry_after: None })
}

/// When to ask again (RFC 9110, 10.2.3): seconds, or a date, which is read by
/// the tracker's own clock (its `Date`). An hour at most.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let then = DateTime::parse_from_rfc2822(text).ok()?;
            let now = DateTime::parse_from_rfc2822(headers.get(DATE)?.to_str().ok()?).ok()?;
            u64::try_from((then - now).num_seconds()).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds.min(3600)))
}

#[cfg(test)]
mod tests {
    use super::retry_after;
    use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
    use std::time::Duration;

    #[test]
    fn retry_after_is_seconds_or_a_date_by_the_trackers_clock() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
        headers.insert(RETRY_AFTER, HeaderValue::from_static("99999999"));
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(3600)));
        headers.insert(RETRY_AFTER, HeaderValue::from_static("Wed, 21 Oct 2015 07:28:30 GMT"));
        assert_eq!(retry_after(&headers), None);
        headers.insert(DATE, HeaderValue::from_static("Wed, 21 Oct 2015 07:28:00 GMT"));
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(30)));
    }
}
