//! Callers by their session's cookie.

use actix_web::http::header::AUTHORIZATION;
use actix_web::{HttpMessage, HttpRequest, web};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use longhaul_model::store::session::{self, Session};
use longhaul_model::{Grants, Permission};

use super::cookie::{Id, Jar};
use super::login::Login;
use crate::access::{Authentication, Authenticator, Caller, CallerKind, Source};
use crate::error::CROSS_SITE;
use crate::query_string::value;
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
    fn identify<'a>(&'a self, request: &'a HttpRequest) -> LocalBoxFuture<'a, Authentication> {
        async {
            let Some(app) = request.app_data::<web::Data<App>>() else {
                return Authentication::Refused(ApiError::internal("the route has no App"));
            };
            let Some(id) = session_id(request) else { return Authentication::Nothing };
            match self.login.caller(&id).await {
                Ok(None) => Authentication::Nothing,
                Err(error) => Authentication::Refused(error),
                Ok(Some(_)) if !request.method().is_safe() && !is_meant(request, app.base_url(), &id) => {
                    Authentication::Refused(ApiError::new(
                        CROSS_SITE,
                        "The service accepts changes only from its own pages, with their token. Load the page again.",
                    ))
                }
                Ok(Some(caller)) => {
                    request.extensions_mut().insert(Csrf(id.derived(PURPOSE)));
                    Authentication::Caller(caller)
                }
            }
        }
        .boxed_local()
    }

    /// An open stream keeps no session alive.
    fn identify_again<'a>(&'a self, request: &'a HttpRequest) -> LocalBoxFuture<'a, Authentication> {
        async {
            match session_id(request) {
                None => Authentication::Nothing,
                Some(id) => match self.login.look_up(&id).await {
                    Ok(None) => Authentication::Nothing,
                    Ok(Some(found)) => Authentication::Caller(caller(found)),
                    Err(error) => Authentication::Refused(error.into()),
                },
            }
        }
        .boxed_local()
    }
}

/// The id of the session that a request comes with. Whoever shows credentials on purpose
/// does not mean a cookie.
fn session_id(request: &HttpRequest) -> Option<Id> {
    let app = request.app_data::<web::Data<App>>().filter(|_| !request.headers().contains_key(AUTHORIZATION))?;
    Jar::Session.value(request, app.base_url()).and_then(|text| Id::read(&text))
}

fn caller(found: Session) -> Caller {
    let permissions = found.permissions.iter().filter_map(|text| text.parse::<Permission>().ok());
    let grants = permissions.fold(Grants::nothing(), |grants, permission| match &found.projects {
        None => grants.with(permission),
        Some(projects) => grants.with_in(permission, projects.iter().copied()),
    });
    Caller::new(CallerKind::Session, found.subject, found.name, grants)
}

/// Whether a request that changes something comes from a page of ours: the browser says
/// so itself (`Sec-Fetch-Site`), or, if it is too old for that, names our origin and has
/// the session's token.
fn is_meant(request: &HttpRequest, base_url: &str, id: &Id) -> bool {
    let header = request.headers().get("x-csrf-token").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let token = header.or_else(|| value(request.query_string(), "csrf"));
    Source::of(request, base_url) == Source::OwnPage
        && (request.headers().contains_key("sec-fetch-site")
            || token.is_some_and(|token| id.has_derived(PURPOSE, &token)))
}

impl Login {
    /// Whose session this is; `None` if it is over.
    pub(super) async fn caller(&self, id: &Id) -> Result<Option<Caller>, ApiError> {
        let Some(found) = self.look_up(id).await? else { return Ok(None) };
        if found.stale {
            session::used(&self.inner.pool, &id.hash(&self.inner.hasher)).await?;
        }
        Ok(Some(caller(found)))
    }

    async fn look_up(&self, id: &Id) -> sqlx::Result<Option<Session>> {
        let idle = i64::try_from(self.inner.settings.idle.as_secs()).unwrap_or(i64::MAX);
        session::find(&self.inner.pool, &id.hash(&self.inner.hasher), idle).await
    }
}
