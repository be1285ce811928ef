//! Ways to say who one is.

use actix_web::HttpRequest;
use futures_util::future::LocalBoxFuture;

use super::Caller;
use crate::ApiError;

/// One way to say who one is: API keys, tokens, a session.
pub trait Authenticator: Send + Sync + 'static {
    /// Looks at a request's head; its body has not arrived yet.
    fn identify<'a>(&'a self, request: &'a HttpRequest) -> LocalBoxFuture<'a, Authentication>;

    /// Looks again at a request that is being answered by a stream, which ends when its
    /// credentials do. It is asked every second or so and is no use of the credentials.
    fn identify_again<'a>(&'a self, request: &'a HttpRequest) -> LocalBoxFuture<'a, Authentication> {
        self.identify(request)
    }
}

/// What an [`Authenticator`] makes of a request.
#[derive(Debug)]
pub enum Authentication {
    /// There are no credentials of its kind; another one may know them.
    Nothing,
    /// They are right.
    Caller(Caller),
    /// They are of its kind and wrong, or it could not tell. Nobody else is asked. See
    /// [`ApiError::wrong_credentials`] and [`ApiError::unavailable`].
    Refused(ApiError),
}
