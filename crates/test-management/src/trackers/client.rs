//! HTTP to trackers: bounded in time, size and number, retried with care.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longhaul_outbound::{ConnectionFailure, GuardedResolver, Patience, Quiet, retry_after};
use longhaul_telemetry::Span;
use reqwest::header::{ACCEPT, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode, Url};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answer::{Answer, redirect_target};
use super::auth::Auth;
use super::error::TrackerError;
use super::settings::TrackerSettings;

/// An answer with more bytes than this is none that we asked for.
const ANSWER_LIMIT: usize = 4 * 1024 * 1024;
/// Of an answer that only explains something so much is read.
const EXPLANATION_LIMIT: usize = 64 * 1024;
/// An explanation that does not come in this time is done without.
const EXPLANATION_PATIENCE: Duration = Duration::from_secs(1);
/// A tracker is left alone for so long at most, whatever it asks for.
const LONGEST_QUIET: Duration = Duration::from_secs(3600);
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
    /// Trackers that asked to be left alone, by origin and account: limits are accounts'.
    quiet: Quiet<(String, u64)>,
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
        let http = longhaul_outbound::http_client()
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
            quiet: Quiet::default(),
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
        let account = account(&url, auth);
        let (mut delay, mut left) = (FIRST_DELAY, self.tries);
        loop {
            let tried = match slots.acquire().await {
                Ok(_slot) => match self.quiet.rest(&account) {
                    // Whoever waited for a place may find that there is nothing to ask for now.
                    Some(rest) => Try::Again(left_alone(&url, rest)),
                    None => {
                        left -= 1;
                        let tried = self.once(url.clone(), auth).await;
                        if let Try::Again(TrackerError::Unavailable { retry_after: Some(asked), .. }) = &tried {
                            self.quiet.keep(account.clone(), *asked);
                        }
                        tried
                    }
                },
                Err(closed) => return Err(TrackerError::Misbehaved(closed.to_string())),
            };
            let error = match tried {
                Try::Answered(answer) => return Ok(answer),
                Try::Failed(error) => return Err(error),
                Try::Again(error) => error,
            };
            // A jitter of a quarter, so that those who failed together do not
            // come back together.
            let wait = error.retry_after().unwrap_or(delay).mul_f64(1.0 + 0.25 * rand::random::<f64>());
            if left == 0 || Instant::now() + wait >= until {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            delay = delay.saturating_mul(2);
        }
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
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => return self.broken(&host, &error),
        };
        let status = response.status();
        let body = if status == StatusCode::OK {
            match read(&mut response, ANSWER_LIMIT).await {
                Ok(body) => body,
                Err(error) => return self.broken(&host, &error),
            }
        } else {
            let explanation = tokio::time::timeout(EXPLANATION_PATIENCE, read(&mut response, EXPLANATION_LIMIT));
            explanation.await.ok().and_then(Result::ok).unwrap_or_default()
        };
        let answer = Answer { headers: response.headers(), body: &body.bytes, auth };
        match status {
            StatusCode::OK if body.is_cut => Try::Failed(TrackerError::Misbehaved(format!(
                "The tracker {host} answered more than {ANSWER_LIMIT} bytes."
            ))),
            StatusCode::OK => read_json(&host, &answer),
            StatusCode::NOT_FOUND | StatusCode::GONE if answer.is_page() => Try::Failed(misbehaved(
                &host,
                status,
                format_args!(
                    ", not like its REST API: check that the address of the external system is its root.{}",
                    answer.says()
                ),
            )),
            StatusCode::NOT_FOUND | StatusCode::GONE => Try::Answered(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Try::Failed(TrackerError::Refused(format!(
                "The tracker {host} answered {}: the credentials of the external system are wrong or lack the \
                 permission for this.{}",
                status.as_u16(),
                answer.says()
            ))),
            status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                Try::Again(TrackerError::Unavailable {
                    detail: format!("The tracker {host} answered {}.{}", status.as_u16(), answer.says()),
                    retry_after: retry_after(response.headers(), LONGEST_QUIET),
                })
            }
            status if status.is_redirection() => {
                let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
                let target = redirect_target(response.url(), location);
                Try::Failed(misbehaved(&host, status, format_args!(" and points to {target}.")))
            }
            status => {
                let says = answer.says();
                Try::Failed(misbehaved(&host, status, format_args!(", which was not expected.{says}")))
            }
        }
    }

    /// No answer, or half of one.
    fn broken(&self, host: &str, error: &reqwest::Error) -> Try {
        let patience = Patience { connect: CONNECT_PATIENCE.min(self.deadline), answer: self.deadline };
        let failure = ConnectionFailure::of(error, patience);
        let detail = format!("The tracker {host} {}.", failure.words);
        if failure.is_not_allowed {
            return Try::Failed(TrackerError::NotAllowed(detail));
        }
        tracing::debug!(host, ?error, "a tracker is unreachable");
        Try::Again(TrackerError::Unavailable { detail, retry_after: None })
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

/// A body, or as much of it as may be read.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    is_cut: bool,
}

async fn read(response: &mut Response, limit: usize) -> reqwest::Result<Body> {
    let mut body = Body::default();
    while let Some(chunk) = response.chunk().await? {
        let room = limit - body.bytes.len();
        body.bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            body.is_cut = true;
            break;
        }
    }
    Ok(body)
}

fn read_json(host: &str, answer: &Answer<'_>) -> Try {
    // RFC 8259 lets readers pass over a byte order mark.
    if let Ok(body) = serde_json::from_slice(answer.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(answer.body)) {
        return Try::Answered(Some(body));
    }
    let instead = answer.instead_of_json();
    Try::Failed(if answer.is_login_page() {
        TrackerError::Refused(format!(
            "The tracker {host} answered {instead}: it did not accept the credentials of the external system, or \
             its address is wrong."
        ))
    } else {
        TrackerError::Misbehaved(format!(
            "The tracker {host} answered {instead}; check that the address of the external system is its root."
        ))
    })
}

/// A tracker's limits are the account's with which it is asked.
fn account(url: &Url, auth: &Auth) -> (String, u64) {
    let mut hasher = DefaultHasher::new();
    auth.hash(&mut hasher);
    (url.origin().ascii_serialization(), hasher.finish())
}

fn misbehaved(host: &str, status: StatusCode, how: std::fmt::Arguments<'_>) -> TrackerError {
    TrackerError::Misbehaved(format!("The tracker {host} answered {}{how}", status.as_u16()))
}

fn left_alone(url: &Url, rest: Duration) -> TrackerError {
    TrackerError::Unavailable {
        detail: format!(
            "The tracker {} accepts no requests for another {} s.",
            url.host_str().unwrap_or_default(),
            rest.as_secs_f64().ceil()
        ),
        retry_after: Some(rest),
    }
}
