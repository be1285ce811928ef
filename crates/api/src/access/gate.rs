//! Where callers say who they are.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;

use super::{Authenticator, Caller, Verdict};
use crate::ApiError;

/// The ways in which callers may say who they are. With none of them everyone is
/// `anonymous` and may do everything.
#[derive(Clone)]
pub struct Gate {
    authenticators: Vec<Arc<dyn Authenticator>>,
    anonymous: Caller,
}

impl Default for Gate {
    fn default() -> Self {
        Self { authenticators: Vec::new(), anonymous: Caller::anonymous() }
    }
}

impl Gate {
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
        if !self.is_closed() {
            return Ok(self.anonymous.clone());
        }
        for authenticator in &self.authenticators {
            match authenticator.identify(request).await {
                Verdict::Nothing => {}
                Verdict::Caller(caller) => return Ok(caller),
                Verdict::Refused(refusal) => return Err(refusal),
            }
        }
        Err(if request.headers().contains_key(AUTHORIZATION) {
            ApiError::wrong_credentials("The credentials are of no kind that is known here.")
        } else {
            ApiError::no_credentials()
        })
    }
}
