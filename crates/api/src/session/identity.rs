//! Callers by their session's cookie.

use actix_web::http::header::AUTHORIZATION;
use actix_web::{HttpMessage, HttpRequest, web};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use longhaul_model::store::session;
use longhaul_model::{Grants, Permission};

use super::Login;
use super::cookie::{Id, Jar};
use super::origin::is_ours;
use crate::access::{Authenticator, Caller, CallerKind, Verdict};
use crate::error::CROSS_SITE;
use crate::{ApiError, App};

/// The purpose of an id's Csrf token.
const PURPOSE: &str = "csrf";

/// The CSRF token of the session that a request has, among its extensions.
pub(crate) struct Csrf(pub(super) String);

/// Knows callers by their session.
pub(crate) struct Sessions {
    pub(crate) login: Login,
}

impl Authenticator for Sessions {
    fn identify<'a>(&'a self, request: &'a HttpRequest) -> LocalBoxFuture<'a, Verdict> {
        async {
            let Some(app) = request.app_data::<web::Data<App>>() else {
                return Verdict::Refused(ApiError::internal("the route has no App"));
            };
            // Who shows credentials on purpose does not mean a cookie.
            if request.headers().contains_key(AUTHORIZATION) {
                return Verdict::Nothing;
            }
            let Some(id) = Jar::Session.value(request, app.base_url()).and_then(|text| Id::read(&text)) else {
                return Verdict::Nothing;
            };
            match self.login.caller(&id).await {
                Ok(None) => Verdict::Nothing,
                Err(error) => Verdict::Refused(error),
                Ok(Some(_)) if !request.method().is_safe() && !is_meant(request, app.base_url(), &id) => {
                    Verdict::Refused(ApiError::new(
                        CROSS_SITE,
                        "What changes something is taken from pages of this service only, with their token. Load the page again.",
                    ))
                }
                Ok(Some(caller)) => {
                    request.extensions_mut().insert(Csrf(id.derived(PURPOSE)));
                    Verdict::Caller(caller)
                }
            }
        }
        .boxed_local()
    }
}

/// Whether a request that changes something comes from a page of ours: the browser says
/// so itself (`Sec-Fetch-Site`), or, if it is too old for that, names our origin and has
/// the session's token.
fn is_meant(request: &HttpRequest, base_url: &str, id: &Id) -> bool {
    let header = request.headers().get("x-csrf-token").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let token = header.or_else(|| super::routes::value(request.query_string(), "csrf"));
    is_ours(request, base_url)
        && (request.headers().contains_key("sec-fetch-site")
            || token.is_some_and(|token| id.has_derived(PURPOSE, &token)))
}

impl Login {
    /// Whose session this is; `None` if it is over.
    pub(super) async fn caller(&self, id: &Id) -> Result<Option<Caller>, ApiError> {
        let (pool, hash) = (&self.inner.pool, id.hash());
        let idle = i64::try_from(self.inner.settings.idle.as_secs()).unwrap_or(i64::MAX);
        let Some(found) = session::find(pool, &hash, idle).await? else { return Ok(None) };
        if found.stale {
            session::used(pool, &hash).await?;
        }
        let permissions = found.permissions.iter().filter_map(|text| text.parse::<Permission>().ok());
        let grants = permissions.fold(Grants::nothing(), |grants, permission| match &found.projects {
            None => grants.with(permission),
            Some(projects) => grants.with_in(permission, projects.iter().copied()),
        });
        Ok(Some(Caller::new(CallerKind::Session, found.subject, found.name, grants)))
    }
}
