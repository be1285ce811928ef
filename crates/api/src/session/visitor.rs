//! Who comes to log in or out.

use std::net::IpAddr;

use actix_web::HttpRequest;
use longhaul_model::store::audit::{AuditEntry, record};
use serde_json::{Value, json};

use crate::access::client_address;
use crate::limit::Attempt;
use crate::{ApiError, App};

/// Who comes to log in or out.
pub(super) struct Visitor {
    address: Option<IpAddr>,
}

impl Visitor {
    pub(super) fn of(request: &HttpRequest, app: &App) -> Self {
        Self { address: client_address(request, &app.inner.settings.trusted_proxies) }
    }

    /// Before credentials are looked at, here as where they come with a request.
    pub(super) async fn attempt<'a>(&self, app: &'a App) -> Option<Attempt<'a>> {
        match &app.inner.limiter {
            Some(limiter) => Some(limiter.attempt(self.address).await),
            None => None,
        }
    }

    pub(super) fn audit_entry(&self, deed: &str, who: impl Into<String>, details: Option<Value>) -> AuditEntry {
        AuditEntry { who: who.into(), address: self.address, deed: deed.to_owned(), target: None, details }
    }

    /// Counts a login that was refused, and writes it down.
    ///
    /// # Errors
    /// 429 if this address guesses: then nothing is written down, or anyone could fill the
    /// audit.
    pub(super) async fn was_refused(
        &self,
        app: &App,
        attempt: Option<Attempt<'_>>,
        by: &str,
        key: Option<&str>,
    ) -> Result<(), ApiError> {
        if let Some(attempt) = attempt {
            attempt.was_wrong()?;
        }
        let deed = self.audit_entry("refuseLogIn", NOBODY, Some(json!({"By": by, "Key": key})));
        Ok(record(app.pool(), &[deed]).await?)
    }
}

/// Who could not log in.
const NOBODY: &str = "anonymous";
