//! Whether a stream's client may still see what it is sent.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::ResponseError;
use actix_web::http::StatusCode;
use tokio::time::Instant;

use crate::limit::Share;
use crate::{ApiError, App, Caller};

/// A stream asks so often whether its client's credentials still hold. With what processes
/// remember of a key this is less than
/// [`REVOKED_WITHIN`](crate::access::keys::REVOKED_WITHIN).
const ASKS_EVERY: Duration = Duration::from_millis(750);

/// What a stream's client is entitled by: the credentials of its request. They may be
/// revoked or end while the stream goes on.
pub(crate) struct Standing {
    app: App,
    request: HttpRequest,
    created_by: Option<String>,
    ask_at: Instant,
    _share: Option<Share>,
}

impl Standing {
    /// That of a caller's request which was just allowed to see a task that this one asked
    /// for.
    ///
    /// # Errors
    /// 429 if the caller has too many streams.
    pub(crate) fn of(
        app: &App,
        caller: &Caller,
        request: &HttpRequest,
        created_by: Option<&str>,
    ) -> Result<Self, ApiError> {
        let most = app.inner.settings.limits.streams;
        let take = |subject| app.inner.streams.take(subject, most).ok_or_else(|| ApiError::too_many_streams(most));
        let share = caller.created_by().map(take).transpose()?;
        Ok(Self {
            app: app.clone(),
            request: request.clone(),
            created_by: created_by.map(str::to_owned),
            ask_at: Instant::now() + ASKS_EVERY,
            _share: share,
        })
    }

    /// Waits until it is to be asked for again; for ever where callers need not say who
    /// they are.
    pub(super) async fn due(&self) {
        if self.app.inner.authenticators.is_closed() {
            tokio::time::sleep_until(self.ask_at).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the client may be sent more. What can't be known now is asked again: while the
    /// database does not answer there is nothing new to be sent, and while the issuer of a token
    /// does not, the token still ends at its time.
    pub(super) async fn holds(&mut self) -> bool {
        if !self.app.inner.authenticators.is_closed() || Instant::now() < self.ask_at {
            return true;
        }
        let holds = match self.app.inner.authenticators.identify_again(&self.request).await {
            Ok(caller) => caller.sees(self.created_by.as_deref()),
            Err(refusal) => refusal.status_code() == StatusCode::SERVICE_UNAVAILABLE,
        };
        self.ask_at = Instant::now() + ASKS_EVERY;
        holds
    }
}
