//! API keys, as `Authorization: Bearer` or as the password of Basic.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use longhaul_model::store::api_key::{self, KeyRow};
use longhaul_model::{Grants, Permission};
use sqlx::PgPool;

use super::secret::{Hash, Hasher, Secret};
use super::{Authentication, Authenticator, Caller, CallerKind, basic, bearer};
use crate::ApiError;

/// Knows callers by their API keys.
pub struct Keys {
    pool: PgPool,
    hasher: Hasher,
    known: Mutex<HashMap<Hash, Known>>,
}

/// Who has a key, until someone has to look again.
struct Known {
    caller: Caller,
    until: Instant,
}

/// A revoked key may be used for so long everywhere, by streams that are open, too: a key
/// that was right is not looked up again for two seconds, and a stream asks again
/// in less than the rest of the time.
pub const REVOKED_WITHIN: Duration = Duration::from_secs(3);
/// A key that was right is not looked up again for so long.
const REMEMBERED_FOR: Duration = Duration::from_secs(2);
/// Keys that are remembered at most.
const REMEMBERED: usize = 10_000;

impl Keys {
    /// Knows the keys in this database. `server_secret` must be the one that they were
    /// made with.
    #[must_use]
    pub fn new(pool: PgPool, server_secret: Option<&str>) -> Self {
        Self { pool, hasher: Hasher::new(server_secret), known: Mutex::default() }
    }

    pub(crate) fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// Whose key this is; `None` if it is nobody's (any more).
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn caller(&self, token: &str) -> Result<Option<Caller>, ApiError> {
        let Some(secret) = Secret::read(token) else { return Ok(None) };
        let hash = self.hasher.hash(&secret);
        if let Some(caller) = self.remembered(&hash) {
            return Ok(Some(caller));
        }
        let asked_at = Instant::now();
        let found = api_key::find(&self.pool, secret.prefix()).await?;
        let Some(row) = found.filter(|row| self.is_right(&secret, row)) else { return Ok(None) };
        if row.stale
            && let Err(error) = api_key::used(&self.pool, secret.prefix()).await
        {
            tracing::warn!(%error, prefix = secret.prefix(), "the use of an API key could not be recorded");
        }
        let caller = caller(&row);
        let left = row.seconds_left.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let until = asked_at + left.unwrap_or(REMEMBERED_FOR).min(REMEMBERED_FOR);
        self.remember(hash, Known { caller: caller.clone(), until });
        Ok(Some(caller))
    }

    fn is_right(&self, secret: &Secret, row: &KeyRow) -> bool {
        if row.hashed_with.as_deref() != self.hasher.id() {
            tracing::warn!(
                prefix = secret.prefix(),
                name = row.name,
                "an API key is refused: it was created with a different LONGHAUL_SECRET"
            );
        }
        self.hasher.matches(secret, &row.hash) && row.valid
    }

    fn remembered(&self, hash: &Hash) -> Option<Caller> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(hash).filter(|known| known.until > Instant::now()).map(|known| known.caller.clone())
    }

    fn remember(&self, hash: Hash, one: Known) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            let now = Instant::now();
            known.retain(|_, known| known.until > now);
        }
        if known.len() < REMEMBERED {
            known.insert(hash, one);
        }
    }
}

/// The caller that a key stands for. A permission that this program can't read grants
/// nothing.
fn caller(row: &KeyRow) -> Caller {
    let permissions = row.permissions.iter().filter_map(|text| text.parse::<Permission>().ok());
    let grants = permissions.fold(Grants::nothing(), |grants, permission| match &row.projects {
        None => grants.with(permission),
        Some(projects) => grants.with_in(permission, projects.iter().copied()),
    });
    Caller::new(CallerKind::Key, format!("key:{}", row.name), row.name.as_str(), grants)
}

impl Authenticator for Keys {
    fn identify<'a>(&'a self, request: &'a HttpRequest) -> LocalBoxFuture<'a, Authentication> {
        async {
            let password = basic(request).map(|basic| basic.password);
            let Some(token) = bearer(request).or(password.as_deref()).filter(|token| Secret::is_meant(token)) else {
                return Authentication::Nothing;
            };
            match self.caller(token).await {
                Ok(Some(caller)) => Authentication::Caller(caller),
                // One answer for all, so that nothing can be told by guessing.
                Ok(None) => Authentication::Refused(ApiError::wrong_credentials(
                    "The API key is not valid: it is unknown, expired or revoked.",
                )),
                Err(error) => Authentication::Refused(error),
            }
        }
        .boxed_local()
    }
}
