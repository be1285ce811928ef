//! Who calls.

use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use longhaul_model::Grants;
use longhaul_model::store::audit::{AuditEntry, record};
use longhaul_model::store::read::Sight;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::permission::{MANAGE_TASKS, VIEW_TASKS};
use crate::ApiError;

/// Who calls and what they may. A handler takes it as an argument; an operation
/// that is [`Access::Public`](super::Access::Public) has none. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller {
    inner: Arc<Inner>,
    address: Option<IpAddr>,
}

#[derive(Debug)]
struct Inner {
    kind: CallerKind,
    subject: String,
    name: String,
    grants: Arc<Grants>,
}

/// How a caller said who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallerKind {
    /// Not at all: there is no authentication.
    Anonymous,
    /// By an API key.
    Key,
    /// By an access token of an OAuth 2.0 issuer.
    Token,
    /// By a session of the dashboard.
    Session,
}

impl Caller {
    /// Someone. `subject` is the same for the same one for ever, among all kinds, e.g.
    /// `key:0191…` or `https://issuer.example|4711`: what they start is theirs by it. None may
    /// begin with `sql:` or `schedule:`, which stand for database roles and schedules.
    /// `name` is for people.
    #[must_use]
    pub fn new(
        kind: CallerKind,
        subject: impl Into<String>,
        name: impl Into<String>,
        grants: impl Into<Arc<Grants>>,
    ) -> Self {
        let inner = Inner { kind, subject: subject.into(), name: name.into(), grants: grants.into() };
        Self { inner: Arc::new(inner), address: None }
    }

    /// Whoever calls where there is no authentication: may do everything.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(CallerKind::Anonymous, "anonymous", "anonymous", Grants::everything())
    }

    /// How it said who it is.
    #[must_use]
    pub fn kind(&self) -> CallerKind {
        self.inner.kind
    }

    /// Who it is, the same for ever.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.inner.subject
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What it may do.
    #[must_use]
    pub fn grants(&self) -> &Arc<Grants> {
        &self.inner.grants
    }

    /// Where its request comes from, if it came over TCP.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The same with the address that its request comes from.
    #[must_use]
    pub(super) fn at(self, address: Option<IpAddr>) -> Self {
        Self { address, ..self }
    }

    /// Whether it has this permission, in all projects.
    #[must_use]
    pub fn may(&self, permission: &str) -> bool {
        self.inner.grants.may(permission)
    }

    /// Whether it has this permission in this project.
    #[must_use]
    pub fn may_in(&self, permission: &str, project: Uuid) -> bool {
        self.inner.grants.may_in(permission, project)
    }

    /// Whether it has every permission.
    pub(crate) fn may_everything(&self) -> bool {
        self.inner.grants.is_everything()
    }

    /// Whose tasks are this one's: what [`Task::created_by`] says of them. `None` where
    /// callers need not say who they are.
    ///
    /// [`Task::created_by`]: longhaul_model::store::read::Task::created_by
    #[must_use]
    pub fn created_by(&self) -> Option<&str> {
        Some(self.subject()).filter(|_| self.kind() != CallerKind::Anonymous)
    }

    /// Whether it may see a task that this one asked for.
    #[must_use]
    pub fn sees(&self, created_by: Option<&str>) -> bool {
        self.may(VIEW_TASKS) || self.is_own(created_by)
    }

    /// Whose tasks it may see, or may with one of these permissions.
    #[must_use]
    pub fn sight(&self, permissions: &[&str]) -> Sight<'_> {
        let all = permissions.iter().any(|permission| self.may(permission));
        self.created_by().filter(|_| !all).map_or(Sight::All, Sight::Own)
    }

    /// Whether it may cancel and retry a task that this one asked for.
    #[must_use]
    pub fn manages(&self, created_by: Option<&str>) -> bool {
        self.may(MANAGE_TASKS) || self.is_own(created_by)
    }

    fn is_own(&self, created_by: Option<&str>) -> bool {
        created_by.is_some() && self.created_by() == created_by
    }

    /// What it does, to be written down; `None` where callers need not say who they are.
    pub(crate) fn audit_entry(
        &self,
        deed: impl Into<String>,
        target: impl Into<String>,
        details: Option<Value>,
    ) -> Option<AuditEntry> {
        let who = self.created_by()?.to_owned();
        Some(AuditEntry { who, address: self.address, deed: deed.into(), target: Some(target.into()), details })
    }

    /// Writes down what it does, in the transaction that does it: both happen or neither.
    /// `deed` is the id of the operation. Nothing is written down where callers need not say
    /// who they are.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn note(
        &self,
        transaction: &mut PgConnection,
        deed: &str,
        target: &str,
        details: Option<Value>,
    ) -> sqlx::Result<()> {
        match self.audit_entry(deed, target, details) {
            Some(deed) => record(transaction, std::slice::from_ref(&deed)).await,
            None => Ok(()),
        }
    }

    /// Refuses unless it has this permission in all projects.
    ///
    /// # Errors
    /// 403 that names it.
    pub fn require(&self, permission: &str) -> Result<(), ApiError> {
        if self.may(permission) { Ok(()) } else { Err(super::missing(permission)) }
    }
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Caller>().cloned();
        ready(caller.ok_or_else(|| ApiError::internal("a public operation asks who calls")))
    }
}
