//! Who asks, and what they may: every [`Operation`](crate::Operation) names what it
//! needs ([`Access`]), and the server asks the [`Gate`] before the handler, and
//! before anything of the request's body is read.

mod authenticator;
mod caller;
mod client;
mod credentials;
mod gate;
pub mod keys;
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

use crate::error::FORBIDDEN;
use crate::limit::Limiter;
use crate::openapi::RefusalPage;
use crate::session::{as_page, login_first};
use crate::{ApiError, App};

pub use authenticator::{Authenticator, Verdict};
pub use caller::{Caller, CallerKind};
pub use client::client_address;
pub use credentials::{Basic, basic, bearer};
pub use gate::Gate;
pub use ipnet::IpNet;
pub use keys::Keys;

/// What an operation asks of whoever calls it.
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
    async fn check(self, request: &ServiceRequest) -> Result<(), ApiError> {
        let app = request.app_data::<web::Data<App>>().ok_or_else(|| ApiError::internal("the route has no App"))?;
        let address = client_address(request.request(), &app.inner.settings.trusted_proxies);
        let limiter = app.inner.limiter.as_ref();
        if self == Access::Public {
            return limiter.map_or(Ok(()), |limiter| limiter.address(address));
        }
        let caller = match limiter {
            None => app.inner.gate.identify(request.request()).await?,
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

    /// Serves a request to an operation that asks for this. If `noted_as` names the
    /// operation, the deed is written down once it is done: what changes something and
    /// does not write it down itself, in the transaction that changes it.
    pub(crate) async fn guard(
        self,
        noted_as: Option<Arc<str>>,
        page: Option<RefusalPage>,
        request: ServiceRequest,
        next: Next<BoxBody>,
    ) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
        if let Err(refusal) = self.check(&request).await {
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
        Ok(response)
    }
}

/// Writes down what has been done.
async fn note(operation: &str, response: &ServiceResponse<BoxBody>) {
    let request = response.request();
    let caller = request.extensions().get::<Caller>().cloned();
    let deed = caller.and_then(|caller| caller.deed(operation, request.path(), None));
    let (Some(mut deed), Some(app)) = (deed, request.app_data::<web::Data<App>>()) else { return };
    // What was made has an address of its own.
    let made = response.headers().get(LOCATION).and_then(|made| made.to_str().ok());
    if let Some(path) = made.and_then(|made| made.strip_prefix(app.base_url())) {
        deed.target = Some(path.to_owned());
    }
    if let Err(error) = record(app.pool(), std::slice::from_ref(&deed)).await {
        tracing::error!(%error, ?deed, "something was done and could not be written down");
    }
}

/// Who sent a request, if they may send one more.
async fn limited(
    app: &App,
    limiter: &Limiter,
    request: &HttpRequest,
    address: Option<IpAddr>,
) -> Result<Caller, ApiError> {
    if !app.inner.gate.is_closed() {
        limiter.address(address)?;
        return app.inner.gate.identify(request).await;
    }
    limiter.may_try(address)?;
    match app.inner.gate.identify(request).await {
        Ok(caller) => limiter.caller(caller.subject()).map(|()| caller),
        Err(refusal) => {
            limiter.was_wrong(address);
            Err(refusal)
        }
    }
}

/// 403: this permission is missing.
pub(crate) fn missing(permission: &str) -> ApiError {
    ApiError::new(FORBIDDEN, format!("The permission {permission} is needed for this."))
}
