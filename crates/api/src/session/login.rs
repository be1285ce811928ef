//! How a session begins, by a key or at the provider.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, LOCATION, SET_COOKIE};
use longhaul_model::store::audit::record;
use longhaul_model::store::session::{self, NewSession};
use serde_json::json;
use sqlx::PgPool;

use super::cookie::{Id, Jar};
use super::page::LoginPage;
use super::provider::Provider;
use super::settings::SessionSettings;
use super::visitor::Visitor;
use crate::access::secret::Hasher;
use crate::access::{Access, Caller, Keys};
use crate::{ApiError, App, Operation};

/// Login for people with a browser. An app that has it has the routes `/login` and
/// `/logout`, and knows callers by their sessions.
#[derive(Clone)]
pub struct Login {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(super) pool: PgPool,
    pub(super) settings: SessionSettings,
    pub(super) keys: Option<Keys>,
    pub(super) provider: Option<Provider>,
    /// What sessions are hashed with: that of the keys.
    pub(super) hasher: Hasher,
}

impl Login {
    /// Login by what there is of API keys and a provider. Sessions are hashed with the servers'
    /// secret of `keys`, so that nobody who can only write to the database makes one.
    #[must_use]
    pub fn new(pool: PgPool, settings: SessionSettings, keys: Option<Keys>, provider: Option<Provider>) -> Self {
        let hasher = keys.as_ref().map_or_else(|| Hasher::new(None), |keys| keys.hasher().clone());
        Self { inner: Arc::new(Inner { pool, settings, keys, provider, hasher }) }
    }
}

/// An operation of the login, for everyone.
pub(super) fn operation(id: &'static str, summary: &'static str) -> Operation {
    Operation::new("Login", id, summary).needs(Access::Public)
}

impl App {
    /// # Errors
    /// 500: the routes are there only if it is.
    pub(super) fn login(&self) -> Result<&Login, ApiError> {
        self.inner.login.as_ref().ok_or_else(|| ApiError::internal("there is no login"))
    }
}

impl Login {
    pub(super) fn page<'a>(&'a self, leads_to: &'a str, complaint: Option<&'a str>) -> LoginPage<'a> {
        LoginPage {
            by_key: self.inner.keys.is_some(),
            provider: self.inner.provider.as_ref().map(|provider| provider.name()),
            leads_to,
            complaint,
        }
    }

    /// Begins a session, always under a new id, and leads on.
    pub(super) async fn begin(
        &self,
        app: &App,
        visitor: &Visitor,
        caller: &Caller,
        key_prefix: Option<&str>,
        permissions: &[String],
        leads_to: &str,
    ) -> Result<HttpResponse, ApiError> {
        let id = Id::random().map_err(ApiError::internal)?;
        let session = NewSession {
            id_hash: &id.hash(&self.inner.hasher),
            subject: caller.subject(),
            name: caller.name(),
            key_prefix,
            permissions,
            seconds: i64::try_from(self.inner.settings.whole.as_secs()).unwrap_or(i64::MAX),
        };
        let (by, shown) = (if key_prefix.is_some() { "key" } else { "provider" }, key_prefix);
        let deed = visitor.audit_entry("logIn", caller.subject(), Some(json!({"By": by, "Key": shown})));
        let mut transaction = self.inner.pool.begin().await?;
        session::begin(&mut *transaction, &session).await?;
        record(&mut *transaction, &[deed]).await?;
        transaction.commit().await?;
        Ok(HttpResponse::SeeOther()
            .insert_header((LOCATION, leads_to))
            .insert_header((CACHE_CONTROL, "no-store"))
            .append_header((SET_COOKIE, Jar::Session.header(app.base_url(), id.text())))
            .append_header((SET_COOKIE, Jar::Login.removal(app.base_url())))
            .finish())
    }
}
