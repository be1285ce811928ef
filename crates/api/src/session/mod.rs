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
mod login;
mod oidc;
mod page;
mod provider;
mod routes;
mod settings;
mod visitor;
mod whoami;

use actix_web::{HttpMessage, HttpRequest};

pub use crate::html::{PAGE_POLICY, html_response};
pub(crate) use identity::{Csrf, Sessions};
pub use login::Login;
pub use provider::{Provider, ProviderSettings};
pub(crate) use routes::add;
pub use settings::SessionSettings;

/// The token that a page sends with requests that change something, for browsers that
/// do not say where a request comes from: as the header `X-Csrf-Token` or, from a form,
/// in the query as `csrf`. `None` when the request has
/// no session: none is needed then.
#[must_use]
pub fn csrf_token(request: &HttpRequest) -> Option<String> {
    request.extensions().get::<Csrf>().map(|token| token.0.clone())
}
