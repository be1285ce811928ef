//! Who asks, and what they may: every [`Operation`](crate::Operation) names what it
//! needs ([`Access`]), and the server asks the [`Authenticators`] before the handler, and
//! before anything of the request's body is read.

mod authenticator;
mod authenticators;
mod caller;
mod client;
mod credentials;
pub mod keys;
mod origin;
pub mod permission;
pub mod secret;

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, ResponseError, web};

use longhaul_model::store::audit::record;

use crate::error::{FORBIDDEN, NO_CREDENTIALS, WRONG_CREDENTIALS};
use crate::html::as_page;
use crate::limit::{Limiter, Share};
use crate::openapi::RefusalPage;
use crate::return_path::login_first;
use crate::{ApiError, App, ending};

pub use authenticator::{Authentication, Authenticator};
pub use authenticators::Authenticators;
pub use caller::{Caller, CallerKind};
pub use client::client_address;
pub use credentials::{Basic, basic, bearer};
pub use ipnet::IpNet;
pub use keys::Keys;
pub(crate) use origin::Source;

/// What an operation requires of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: credentials are not looked at.
    Public,
    /// To be someone, whoever it is. Its handler may ask for more.
    Caller,
    /// This permission, in all projects.
    Permission(&'static str),
    /// All of these permissions, in all projects.
    Permissions(&'static [&'static str]),
    /// This permission, in one project at least. Its handler asks in which.
    Somewhere(&'static str),
}

impl Access {
    /// Lets the caller through, whom the handler can take as an argument then, or
    /// says why not.
    async fn check(self, for_pages: bool, request: &ServiceRequest) -> Result<(), ApiError> {
        let app = request.app_data::<web::Data<App>>().ok_or_else(|| ApiError::internal("the route has no App"))?;
        origin::check(self, for_pages, request.request(), &app.inner.settings)?;
        let address = client_address(request.request(), &app.inner.settings.trusted_proxies);
        let limiter = app.inner.limiter.as_ref();
        if self == Access::Public {
            return limiter.map_or(Ok(()), |limiter| limiter.address(address));
        }
        let caller = match limiter {
            None => app.inner.authenticators.identify(request.request()).await?,
            Some(limiter) => limited(app, limiter, request.request(), address).await?,
        };
        let lacking = match self {
            Access::Public | Access::Caller => None,
            Access::Permission(name) => Some(name).filter(|name| !caller.may(name)),
            Access::Permissions(names) => names.iter().copied().find(|name| !caller.may(name)),
            Access::Somewhere(name) => Some(name).filter(|name| !caller.grants().may_somewhere(name)),
        };
        if let Some(name) = lacking {
            return Err(missing(name));
        }
        request.extensions_mut().insert(caller.at(address));
        Ok(())
    }

    /// Serves a request to an operation that asks for this, and is `for_pages` of ours alone
    /// if it says so. If `noted_as` names the operation, the deed is written down once it is
    /// done: what changes something and does not write it down itself, in the transaction
    /// that changes it.
    pub(crate) async fn guard(
        self,
        for_pages: bool,
        takes_great_bodies: bool,
        noted_as: Option<Arc<str>>,
        page: Option<RefusalPage>,
        request: ServiceRequest,
        next: Next<BoxBody>,
    ) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
        let checked = self.check(for_pages, &request).await;
        let share = checked.and_then(|()| if takes_great_bodies { share(&request) } else { Ok(None) });
        if let Err(refusal) = share {
            let login = request.app_data::<web::Data<App>>().is_some_and(|app| app.inner.login.is_some());
            let unknown = refusal.status_code() == StatusCode::UNAUTHORIZED;
            let instead = if login && unknown { login_first(&request) } else { None };
            let answer = instead.unwrap_or_else(|| {
                let answer = refusal.error_response();
                match page {
                    Some(page) => as_page(answer, page(request.request(), &refusal)),
                    None => answer,
                }
            });
            return Ok(request.into_response(answer));
        }
        let mut response = next.call(request).await?;
        if let Some(page) = page
            && let Some(refusal) = response.response().error().and_then(|error| error.as_error::<ApiError>())
        {
            let html = page(response.request(), refusal);
            let (request, answer) = response.into_parts();
            response = ServiceResponse::new(request, as_page(answer, html));
        }
        if let Some(operation) = noted_as.filter(|_| response.status().as_u16() < 400) {
            note(&operation, &response).await;
        }
        Ok(ending::fit(response))
    }
}

/// One of the great bodies that the caller may send at once; it is held until the answer.
fn share(request: &ServiceRequest) -> Result<Option<Share>, ApiError> {
    let caller = request.extensions().get::<Caller>().cloned();
    let app = request.app_data::<web::Data<App>>();
    let Some((app, subject)) = app.zip(caller.as_ref().and_then(Caller::created_by)) else { return Ok(None) };
    let most = app.inner.settings.limits.great_bodies;
    let share = app.inner.great_bodies.take(subject, most);
    share.map(Some).ok_or_else(|| ApiError::too_many_great_bodies(most))
}

/// Writes down what has been done.
async fn note(operation: &str, response: &ServiceResponse<BoxBody>) {
    let request = response.request();
    let caller = request.extensions().get::<Caller>().cloned();
    let deed = caller.and_then(|caller| caller.audit_entry(operation, request.path(), None));
    let (Some(mut deed), Some(app)) = (deed, request.app_data::<web::Data<App>>()) else { return };
    // What was made has an address of its own.
    let made = response.headers().get(LOCATION).and_then(|made| made.to_str().ok());
    if let Some(path) = made.and_then(|made| made.strip_prefix(app.base_url())) {
        deed.target = Some(path.to_owned());
    }
    if let Err(error) = record(app.pool(), std::slice::from_ref(&deed)).await {
        tracing::error!(%error, ?deed, "the audit entry of an operation could not be stored");
    }
}

/// Who sent a request, if they may send one more.
async fn limited(
    app: &App,
    limiter: &Limiter,
    request: &HttpRequest,
    address: Option<IpAddr>,
) -> Result<Caller, ApiError> {
    if !app.inner.authenticators.is_closed() {
        limiter.address(address)?;
        return app.inner.authenticators.identify(request).await;
    }
    let attempt = limiter.attempt(address).await;
    match app.inner.authenticators.identify(request).await {
        Ok(caller) => limiter.caller(caller.subject()).map(|()| caller),
        Err(refusal) if refusal.is(WRONG_CREDENTIALS) => Err(attempt.was_wrong().err().unwrap_or(refusal)),
        // It costs as much as any request of someone who says nothing.
        Err(refusal) if refusal.is(NO_CREDENTIALS) => Err(limiter.address(address).err().unwrap_or(refusal)),
        Err(refusal) => Err(refusal),
    }
}

/// 403: this permission is missing.
pub(crate) fn missing(permission: &str) -> ApiError {
    ApiError::new(FORBIDDEN, format!("This requires the permission {permission}."))
}
