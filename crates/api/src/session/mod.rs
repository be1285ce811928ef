//! Login for people with a browser: by an API key, or at the OpenID provider that
//! also issues access tokens (OpenID Connect Core 1.0, code flow with PKCE).
//!
//! A session is a row of the database under the hash of a random id, and the id is in
//! a cookie. So it ends at once everywhere when its person logs out or its key is
//! revoked, and every server knows it without a shared secret; a sealed cookie would
//! save one primary-key lookup a request and could do neither.
//!
//! Requests that change something and come with a cookie must come from a page of ours:
//! the browser says so (`Sec-Fetch-Site`), or names our origin and sends the token that
//! only our pages know ([`csrf_token`]).

mod cookie;
mod identity;
mod oidc;
mod origin;
mod page;
mod provider;
mod routes;
mod whoami;

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, LOCATION};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use sqlx::PgPool;

use crate::access::Keys;

pub(crate) use identity::{Csrf, Sessions};
pub use page::{PAGE_POLICY, html_response};
pub(crate) use page::{as_page, escaped};
pub use provider::{Provider, ProviderSettings};
pub(crate) use routes::add;

/// How long sessions last.
#[derive(Debug, Clone, Copy)]
pub struct SessionSettings {
    /// Without a request for this long, one ends. Default 1 h.
    pub idle: Duration,
    /// After this long it ends in any case. Default 12 h.
    pub whole: Duration,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { idle: Duration::from_secs(3600), whole: Duration::from_secs(12 * 3600) }
    }
}

/// Login for people with a browser. An app that has it has the routes `/login` and
/// `/logout`, and its gate knows sessions.
#[derive(Clone)]
pub struct Login {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pool: PgPool,
    settings: SessionSettings,
    keys: Option<Keys>,
    provider: Option<Provider>,
}

impl Login {
    /// Login by what there is of API keys and a provider.
    #[must_use]
    pub fn new(pool: PgPool, settings: SessionSettings, keys: Option<Keys>, provider: Option<Provider>) -> Self {
        Self { inner: Arc::new(Inner { pool, settings, keys, provider }) }
    }
}

/// The token that a page sends with requests that change something, for browsers that
/// do not say where a request comes from: as the header `X-Csrf-Token` or, from a form,
/// in the query as `csrf`. `None` when the request has
/// no session: none is needed then.
#[must_use]
pub fn csrf_token(request: &HttpRequest) -> Option<String> {
    request.extensions().get::<Csrf>().map(|token| token.0.clone())
}

/// Where a browser that asks for a page without a session is sent: to the login.
pub(crate) fn login_first(request: &ServiceRequest) -> Option<HttpResponse> {
    let wants_page = request.method() == Method::GET
        && request
            .headers()
            .get_all(ACCEPT)
            .filter_map(|value| value.to_str().ok())
            .any(|text| text.contains("text/html"));
    if !wants_page {
        return None;
    }
    let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
    let address = format!("/login?{}", routes::query(&[("return", asked)]));
    Some(HttpResponse::SeeOther().insert_header((LOCATION, address)).finish())
}
