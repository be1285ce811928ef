//! Every error an API client can see, in one table.

use std::error::Error as StdError;
use std::future::Future;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use longhaul_model::store::failure::{DONE, MAY_BE_DONE, NOT_DONE};
use longhaul_model::{CreateError, ParameterError, Problem, ProblemKind, TraceContext};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = ($code:literal, $status:literal, $title:literal);)*) => {
        $($(#[$doc])* pub(crate) const $name: ProblemKind =
            ProblemKind { code: $code, title: $title, status: $status };)*

        /// The API's error codes. `docs/errors.md` has the same table; a test
        /// compares them.
        pub const KINDS: &[ProblemKind] = &[$($name),*];
    };
}

kinds! {
    NOT_JSON = ("not-json", 400, "The body is not JSON");
    MALFORMED_REQUEST = ("malformed-request", 400, "The request is not HTTP/1.1");
    AMBIGUOUS_REQUEST = ("ambiguous-request", 400, "The end of the request is ambiguous");
    INVALID_REQUEST = ("invalid-request", 400, "The request is invalid");
    UNKNOWN_TASK_TYPE = ("unknown-task-type", 400, "There is no such task type");
    INVALID_PARAMETERS = ("invalid-parameters", 400, "The parameters are invalid");
    UNKNOWN_PREREQUISITE = ("unknown-prerequisite", 400, "A dependency is invalid");
    NO_CREDENTIALS = ("no-credentials", 401, "Authentication required");
    WRONG_CREDENTIALS = ("wrong-credentials", 401, "The credentials are not valid");
    FORBIDDEN = ("forbidden", 403, "A permission is missing");
    CROSS_SITE = ("cross-site", 403, "The request does not come from a page of this service");
    UNKNOWN_TASK = ("unknown-task", 404, "There is no such task");
    UNKNOWN_QUEUE = ("unknown-queue", 404, "There is no such queue");
    UNKNOWN_TYPE = ("unknown-type", 404, "There is no such task type");
    UNKNOWN_SCHEDULE = ("unknown-schedule", 404, "There is no such schedule");
    UNKNOWN_ROUTE = ("unknown-route", 404, "Not found");
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "Method not allowed");
    NOT_ACCEPTABLE = ("not-acceptable", 406, "The response is not available in an accepted format");
    HEAD_TOO_SLOW = ("head-too-slow", 408, "The head of the request came too slowly");
    BODY_TOO_SLOW = ("body-too-slow", 408, "The body came too slowly");
    TASK_ENDED = ("task-ended", 409, "The task has completed");
    TASK_OPEN = ("task-open", 409, "The task has not completed");
    UNIQUE_TASK_EXISTS = ("unique-task-exists", 409, "Another task with the same unique key is open");
    IDEMPOTENCY_KEY_REUSED = ("idempotency-key-reused", 409, "The idempotency key was used for another request");
    /// A record with that id, or that does the same, is there already.
    ALREADY_EXISTS = ("already-exists", 409, "The record already exists");
    SCHEDULE_EXISTS = ("schedule-exists", 409, "A schedule of that name already exists");
    PAYLOAD_TOO_LARGE = ("payload-too-large", 413, "The body is too large");
    URI_TOO_LONG = ("uri-too-long", 414, "The address is too long");
    UNSUPPORTED_MEDIA_TYPE = ("unsupported-media-type", 415, "Unsupported media type");
    UNSUPPORTED_ENCODING = ("unsupported-encoding", 415, "The body must not be compressed");
    FOREIGN_HOST = ("foreign-host", 421, "The host name is not allowed");
    TOO_MANY_REQUESTS = ("too-many-requests", 429, "Too many requests");
    QUEUE_FULL = ("queue-full", 429, "The queue is full");
    HEADERS_TOO_LARGE = ("headers-too-large", 431, "The headers are too large");
    INTERNAL = ("internal", 500, "Internal error");
    /// Credentials can't be stored.
    NO_SECRET_KEY = ("no-secret-key", 500, "This host has no secret key");
    UNAVAILABLE = ("unavailable", 503, "The service is unavailable");
}

/// An error answer: RFC 9457 `application/problem+json` with a `code`, and for
/// validation a list of `errors` with JSON pointers. The cause, if any, goes to
/// the log under the same `traceId` and never into the body.
#[derive(Debug)]
pub struct ApiError {
    problem: Box<Problem>,
    errors: Vec<ParameterError>,
    allow: Option<String>,
    retry_after: Option<u32>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

/// An answer lists this many complaints at most.
const ERRORS_AT_MOST: usize = 1_000;
const CHALLENGE: &str = "Bearer realm=\"longhaul\"";
const CHALLENGE_AFTER_WRONG: &str = "Bearer realm=\"longhaul\", error=\"invalid_token\"";
/// Clients may try again after this many seconds when something does not answer.
const RETRY_AFTER_SECONDS: u32 = 2;

impl ApiError {
    /// An error of this kind; `detail` says what to change.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            problem: Box::new(Problem::new(kind, detail)),
            errors: Vec::new(),
            allow: None,
            retry_after: None,
            cause: None,
        }
    }

    /// 400 with a list of complaints about the request (not of a task's
    /// parameters), each with a JSON pointer or the name of a query parameter.
    #[must_use]
    pub fn invalid_request(errors: Vec<ParameterError>) -> Self {
        Self::listing(INVALID_REQUEST, errors)
    }

    /// 400 with every complaint about a task's parameters.
    #[must_use]
    pub(crate) fn invalid_parameters(errors: Vec<ParameterError>) -> Self {
        Self::listing(INVALID_PARAMETERS, errors)
    }

    /// 405 with the methods there are.
    #[must_use]
    pub fn method_not_allowed(allow: impl Into<String>) -> Self {
        let allow = allow.into();
        let error = Self::new(METHOD_NOT_ALLOWED, format!("Use one of: {allow}."));
        Self { allow: Some(allow), ..error }
    }

    /// 401: the request has no credentials, and needs some.
    #[must_use]
    pub fn no_credentials() -> Self {
        let detail = "Send an API key or an access token as Authorization: Bearer, or a key as the password of Basic.";
        Self::new(NO_CREDENTIALS, detail)
    }

    /// 401: the request has credentials that are malformed, unknown, expired or
    /// revoked. `detail` must not tell these apart for someone who guesses.
    #[must_use]
    pub fn wrong_credentials(detail: impl Into<String>) -> Self {
        Self::new(WRONG_CREDENTIALS, detail)
    }

    /// 429: this client sent more than it may; it may go on after these seconds.
    #[must_use]
    pub(crate) fn too_many_requests(seconds: u32) -> Self {
        let detail = format!("You have exceeded your request limit. Continue after {seconds} s.");
        Self { retry_after: Some(seconds), ..Self::new(TOO_MANY_REQUESTS, detail) }
    }

    /// 429: this client has too many streams open.
    #[must_use]
    pub(crate) fn too_many_streams(most: usize) -> Self {
        let detail = format!("You have {most} open streams, the maximum per caller. Close some first.");
        Self { retry_after: Some(RETRY_AFTER_SECONDS), ..Self::new(TOO_MANY_REQUESTS, detail) }
    }

    /// 429: this client sends too many great bodies at once.
    #[must_use]
    pub(crate) fn too_many_great_bodies(most: usize) -> Self {
        let detail =
            format!("You are sending {most} batches or files at once, the maximum per caller. Wait until one is done.");
        Self { retry_after: Some(RETRY_AFTER_SECONDS), ..Self::new(TOO_MANY_REQUESTS, detail) }
    }

    /// 429: as many tasks wait in the queue as may.
    #[must_use]
    pub(crate) fn queue_full(queue: &str, most: i32) -> Self {
        let detail = format!(
            "{most} tasks or more wait in the queue {queue}, which takes no more then (MaxWaiting). Nothing was stored; \
             try again when some of them have started."
        );
        Self { retry_after: Some(RETRY_AFTER_SECONDS), ..Self::new(QUEUE_FULL, detail) }
    }

    /// 500; the cause goes to the log.
    #[must_use]
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let detail = "An unexpected error occurred. The log has it under the traceId of this response.";
        Self { cause: Some(cause.into()), ..Self::new(INTERNAL, detail) }
    }

    /// 503 with `Retry-After`.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(UNAVAILABLE, detail)
    }

    /// If it tells what became of the request, it tells this instead.
    fn telling(mut self, what: &str) -> Self {
        for other in [NOT_DONE, MAY_BE_DONE] {
            self.problem.detail = self.problem.detail.replace(other, what);
        }
        self
    }

    /// The problem that clients see.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// What is wrong where, if it lists that.
    #[must_use]
    pub fn errors(&self) -> &[ParameterError] {
        &self.errors
    }

    /// Whether it is of this kind.
    pub(crate) fn is(&self, kind: ProblemKind) -> bool {
        self.problem.code == kind.code
    }

    /// The challenge with what was wrong, where that can be said in a header
    /// (RFC 6750, 3: characters of ASCII without quotes and backslashes).
    fn challenge_after_wrong(&self) -> String {
        let why = &self.problem.detail;
        if why.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
            format!("{CHALLENGE_AFTER_WRONG}, error_description=\"{why}\"")
        } else {
            CHALLENGE_AFTER_WRONG.to_owned()
        }
    }

    fn listing(kind: ProblemKind, errors: Vec<ParameterError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{}: {}", only.pointer, only.message),
            several if several.len() > ERRORS_AT_MOST => {
                format!("The request has {} errors; see errors for the first {ERRORS_AT_MOST}.", several.len())
            }
            several => format!("The request has {} errors; see errors.", several.len()),
        };
        Self::new(kind, detail).with_errors(errors)
    }

    /// The same error with a list of what is wrong where. Of very many complaints
    /// the first ones are listed.
    #[must_use]
    pub(crate) fn with_errors(mut self, mut errors: Vec<ParameterError>) -> Self {
        errors.truncate(ERRORS_AT_MOST);
        self.errors = errors;
        self
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        if longhaul_model::store::is_passing(&error) {
            let detail = longhaul_model::store::failure::what_became_of_it(&error);
            Self { cause: Some(Box::new(error)), ..Self::unavailable(detail) }
        } else {
            Self::internal(error)
        }
    }
}

/// For what a request does after it has committed a change: an error must not tell that nothing was
/// changed.
pub trait AfterChange<T> {
    /// The error tells that the request was carried out.
    ///
    /// # Errors
    /// The error, if there is one.
    fn after_change(self) -> Result<T, ApiError>;

    /// The error tells that the request may have been carried out, at least in part.
    ///
    /// # Errors
    /// The error, if there is one.
    fn after_some_changes(self) -> Result<T, ApiError>;
}

impl<T, E: Into<ApiError>> AfterChange<T> for Result<T, E> {
    fn after_change(self) -> Result<T, ApiError> {
        self.map_err(|error| error.into().telling(DONE))
    }

    fn after_some_changes(self) -> Result<T, ApiError> {
        self.map_err(|error| error.into().telling(MAY_BE_DONE))
    }
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Forbidden { permission } => {
                Self::new(FORBIDDEN, format!("Starting this task requires the permission {permission}."))
            }
            CreateError::Invalid(errors) => Self::invalid_parameters(errors),
            CreateError::Impossible { kind, detail } | CreateError::Unseen { kind, detail } => Self::new(kind, detail),
            CreateError::Unavailable { detail, retry_after } => Self {
                // Up, so that nobody comes back too early.
                retry_after: retry_after.map(|wait| wait.as_secs_f64().ceil() as u32),
                ..Self::unavailable(format!("{detail} Nothing was stored; try again."))
            },
            CreateError::Internal(cause) => Self::internal(cause),
        }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.problem.status, self.problem.code, self.problem.detail)
    }
}

impl StdError for ApiError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

tokio::task_local! {
    /// The public address of the API that answers.
    static ANSWERED_BY: Arc<str>;
}

/// What is refused meanwhile says where this public address explains it.
pub(crate) async fn answered_by<T>(base_url: Arc<str>, answering: impl Future<Output = T>) -> T {
    ANSWERED_BY.scope(base_url, answering).await
}

/// The same at once.
pub(crate) fn answered_by_sync<T>(base_url: Arc<str>, answer: impl FnOnce() -> T) -> T {
    ANSWERED_BY.sync_scope(base_url, answer)
}

/// Where the API at this public address explains an error code, if it does.
pub(crate) fn help(code: &str, base_url: &str) -> Option<String> {
    longhaul_book::error_path(code).map(|path| format!("{base_url}{path}"))
}

/// An RFC 9457 problem object.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct ErrorBody<'a> {
    #[serde(flatten)]
    problem: Problem,
    /// Everything that is wrong with the request.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [ParameterError],
    /// The log has the cause under it.
    #[serde(rename = "traceId")]
    trace_id: String,
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        // That of the request's trace, if it belongs to one.
        let trace_id =
            TraceContext::current().map_or_else(|| Uuid::now_v7().simple().to_string(), |trace| trace.trace_id());
        let status = self.status_code();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            tracing::warn!(trace_id, detail = self.problem.detail, cause = ?self.cause, "not available");
        } else if status.is_server_error() {
            tracing::error!(trace_id, code = self.problem.code, detail = self.problem.detail, cause = ?self.cause, "request failed");
        } else {
            tracing::debug!(trace_id, code = self.problem.code, detail = self.problem.detail, "request refused");
        }
        let mut response = HttpResponse::build(status);
        response.insert_header((CONTENT_TYPE, "application/problem+json; charset=utf-8"));
        if let Some(allow) = &self.allow {
            response.insert_header((ALLOW, allow.as_str()));
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750, 3: no error code if the request has no credentials at all.
            let wrong = self.is(WRONG_CREDENTIALS);
            let challenge = if wrong { self.challenge_after_wrong() } else { CHALLENGE.to_owned() };
            response.insert_header((WWW_AUTHENTICATE, challenge));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE || self.retry_after.is_some() {
            response.insert_header((RETRY_AFTER, self.retry_after.unwrap_or(RETRY_AFTER_SECONDS)));
        }
        if self.is(UNSUPPORTED_ENCODING) {
            // RFC 9110, 12.5.3: what the client may send instead.
            response.insert_header((ACCEPT_ENCODING, "identity"));
        }
        if status == StatusCode::REQUEST_TIMEOUT {
            // What is left of the body is not waited for (RFC 9110, 15.5.9).
            response.insert_header((CONNECTION, "close"));
        }
        let mut problem = Problem::clone(&self.problem);
        problem.help = ANSWERED_BY.try_with(|base_url| help(&problem.code, base_url)).ok().flatten();
        let body = ErrorBody { problem, errors: &self.errors, trace_id };
        response.body(serde_json::to_string(&body).unwrap_or_default())
    }
}
