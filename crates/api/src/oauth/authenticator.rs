//! Callers by their access tokens.

use std::sync::Arc;

use actix_web::{HttpRequest, web};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use longhaul_model::Grants;

use super::{Bearer, Refusal, ResourceServer};
use crate::access::{Authentication, Authenticator, Caller, CallerKind, bearer};
use crate::{ApiError, App};

/// Knows callers by access tokens that are JWTs, as `Authorization: Bearer`. Other
/// bearer tokens are left to others.
#[derive(Clone)]
pub struct Tokens {
    server: Arc<ResourceServer>,
}

impl Tokens {
    /// Takes the tokens that this resource server takes.
    #[must_use]
    pub fn new(server: Arc<ResourceServer>) -> Self {
        Self { server }
    }

    async fn authenticate(&self, request: &HttpRequest) -> Authentication {
        // A JWS in compact form has three parts (RFC 7515, 7.1).
        let Some(token) = bearer(request).filter(|token| token.bytes().filter(|byte| *byte == b'.').count() == 2)
        else {
            return Authentication::Nothing;
        };
        let Some(app) = request.app_data::<web::Data<App>>() else {
            return Authentication::Refused(ApiError::internal("the route has no App"));
        };
        match self.server.check(token, app.now().timestamp()).await {
            Ok(bearer) => Authentication::Caller(bearer.caller(self.server.issuer().name(), CallerKind::Token)),
            Err(Refusal::Invalid(why)) => Authentication::Refused(ApiError::wrong_credentials(why)),
            Err(Refusal::Unknowable(why)) => Authentication::Refused(ApiError::unavailable(why)),
        }
    }
}

impl Authenticator for Tokens {
    fn identify<'a>(&'a self, request: &'a HttpRequest) -> LocalBoxFuture<'a, Authentication> {
        self.authenticate(request).boxed_local()
    }
}

impl Bearer {
    /// The same for ever: no two issuers have the same subject.
    pub(crate) fn caller(&self, issuer: &str, kind: CallerKind) -> Caller {
        let grants = self.permissions.iter().cloned().fold(Grants::nothing(), Grants::with);
        Caller::new(kind, format!("{issuer}|{}", self.subject), self.name.as_str(), grants)
    }
}
