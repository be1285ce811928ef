//! Where callers say who they are.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use futures_util::future::LocalBoxFuture;

use super::{Authentication, Authenticator, Caller};
use crate::ApiError;

/// The ways in which callers may say who they are. With none of them everyone is
/// `anonymous` and may do everything.
#[derive(Clone)]
pub struct Authenticators {
    authenticators: Vec<Arc<dyn Authenticator>>,
    anonymous: Caller,
}

impl Default for Authenticators {
    fn default() -> Self {
        Self { authenticators: Vec::new(), anonymous: Caller::anonymous() }
    }
}

impl Authenticators {
    /// And this way. They are asked in the order in which they were added, until one
    /// knows the credentials.
    #[must_use]
    pub fn with(mut self, authenticator: impl Authenticator) -> Self {
        self.authenticators.push(Arc::new(authenticator));
        self
    }

    /// Whether callers have to say who they are.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !self.authenticators.is_empty()
    }

    /// Who sent this request.
    ///
    /// # Errors
    /// 401 when there are no credentials or they are wrong; 503 when that can't be
    /// told now.
    pub async fn identify(&self, request: &HttpRequest) -> Result<Caller, ApiError> {
        self.ask(request, |authenticator| authenticator.identify(request)).await
    }

    /// Who sent this request, which is being answered by a stream.
    ///
    /// # Errors
    /// As [`identify`](Self::identify).
    pub(crate) async fn identify_again(&self, request: &HttpRequest) -> Result<Caller, ApiError> {
        self.ask(request, |authenticator| authenticator.identify_again(request)).await
    }

    async fn ask<'a>(
        &'a self,
        request: &'a HttpRequest,
        ask: impl Fn(&'a dyn Authenticator) -> LocalBoxFuture<'a, Authentication>,
    ) -> Result<Caller, ApiError> {
        if !self.is_closed() {
            return Ok(self.anonymous.clone());
        }
        for authenticator in &self.authenticators {
            match ask(authenticator.as_ref()).await {
                Authentication::Nothing => {}
                Authentication::Caller(caller) => return Ok(caller),
                Authentication::Refused(refusal) => return Err(refusal),
            }
        }
        Err(if request.headers().contains_key(AUTHORIZATION) {
            ApiError::wrong_credentials("The server does not support this kind of credentials.")
        } else {
            ApiError::no_credentials()
        })
    }
}
