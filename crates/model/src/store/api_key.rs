//! API keys: their hashes, whose they are, and what they may do.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgExecutor};
use uuid::Uuid;

use super::stored::{StoredTexts, StoredTime, StoredTimeOption};

/// A key to be stored.
#[derive(Debug, Clone)]
pub struct NewApiKey<'a> {
    /// What its secret begins with: `lh_` and ten letters and digits.
    pub prefix: &'a str,
    /// Whose it is: a letter or digit, then at most 99 of letters, digits, `.`, `_`,
    /// `@`, `-`. Keys of one name are one caller.
    pub name: &'a str,
    /// HMAC-SHA-256 of the secret.
    pub hash: &'a [u8],
    /// Which of the servers' secrets it is keyed with.
    pub hashed_with: Option<&'a str>,
    /// [`crate::Permission`]s.
    pub permissions: &'a [String],
    /// Where they hold; everywhere if absent.
    pub projects: Option<&'a [Uuid]>,
    /// From when on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
    /// Who makes it; the database's user if absent.
    pub created_by: Option<&'a str>,
    /// There may be, or have been, others of its name.
    pub again: bool,
}

/// A key as people see it.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct ApiKey {
    /// What its secret begins with.
    pub prefix: String,
    /// Whose it is.
    pub name: String,
    /// `valid`, `expired` or `revoked`.
    pub state: String,
    /// What it may do.
    #[sqlx(try_from = "StoredTexts")]
    pub permissions: Vec<String>,
    /// Where; everywhere if absent.
    pub projects: Option<Vec<Uuid>>,
    /// When it was made.
    #[sqlx(try_from = "StoredTime")]
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
    /// From when on it is refused.
    #[sqlx(try_from = "StoredTimeOption")]
    pub expires_at: Option<DateTime<Utc>>,
    /// To the minute.
    #[sqlx(try_from = "StoredTimeOption")]
    pub last_used_at: Option<DateTime<Utc>>,
    /// Since when it is refused for good.
    #[sqlx(try_from = "StoredTimeOption")]
    pub revoked_at: Option<DateTime<Utc>>,
    /// Who revoked it.
    pub revoked_by: Option<String>,
}

/// A key as it is checked.
#[derive(Debug, Clone, FromRow)]
pub struct KeyRow {
    /// Whose it is.
    pub name: String,
    /// HMAC-SHA-256 of the secret.
    pub hash: Vec<u8>,
    /// Which of the servers' secrets it is keyed with.
    pub hashed_with: Option<String>,
    /// What it may do.
    #[sqlx(try_from = "StoredTexts")]
    pub permissions: Vec<String>,
    /// Where; everywhere if absent.
    pub projects: Option<Vec<Uuid>>,
    /// It is neither expired nor revoked.
    pub valid: bool,
    /// Seconds until it expires, by the database's clock.
    pub seconds_left: Option<f64>,
    /// Its last use was noted more than a minute ago.
    pub stale: bool,
}

const CREATE: &str = "
    INSERT INTO longhaul.api_key (prefix, name, hash, hashed_with, permissions, projects, expires_at, created_by)
    SELECT $1, $2, $3, $4, $5, $6, $7, coalesce($8, 'database:' || session_user)
     WHERE $9 OR NOT EXISTS (SELECT FROM longhaul.api_key k WHERE k.name = $2)
    RETURNING true";

/// Stores a key, unless there is or was one of its name and it is not
/// [`again`](NewApiKey::again): `false` then.
///
/// # Errors
/// If the database does not answer, or a prefix or name is none.
pub async fn create(executor: impl PgExecutor<'_>, key: &NewApiKey<'_>) -> sqlx::Result<bool> {
    let created: Option<bool> = sqlx::query_scalar(CREATE)
        .bind(key.prefix)
        .bind(key.name)
        .bind(key.hash)
        .bind(key.hashed_with)
        .bind(key.permissions)
        .bind(key.projects)
        .bind(key.expires_at)
        .bind(key.created_by)
        .bind(key.again)
        .fetch_optional(executor)
        .await?;
    Ok(created.is_some())
}

/// The key whose secret begins with this.
///
/// # Errors
/// If the database does not answer.
pub async fn find(executor: impl PgExecutor<'_>, prefix: &str) -> sqlx::Result<Option<KeyRow>> {
    sqlx::query_as(
        "SELECT k.name, k.hash, k.hashed_with, k.permissions, k.projects,
                k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AS valid,
                extract(epoch FROM k.expires_at - now())::float8 AS seconds_left,
                k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute' AS stale
           FROM longhaul.api_key k WHERE k.prefix = $1",
    )
    .bind(prefix)
    .fetch_optional(executor)
    .await
}

/// Notes that a key is used now, once a minute at most.
///
/// # Errors
/// If the database does not answer.
pub async fn used(executor: impl PgExecutor<'_>, prefix: &str) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE longhaul.api_key SET last_used_at = now()
          WHERE prefix = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')",
    )
    .bind(prefix)
    .execute(executor)
    .await?;
    Ok(())
}

/// Every key, the oldest first; those that are of no use any more only if `all`.
///
/// # Errors
/// If the database does not answer.
pub async fn list(executor: impl PgExecutor<'_>, all: bool) -> sqlx::Result<Vec<ApiKey>> {
    sqlx::query_as(
        "SELECT prefix, name, state, permissions, projects, created_at, created_by, expires_at, last_used_at,
                revoked_at, revoked_by
           FROM longhaul.api_keys WHERE $1 OR state = 'valid' ORDER BY created_at, prefix",
    )
    .bind(all)
    .fetch_all(executor)
    .await
}

/// Revokes the key with this prefix, or all keys of this name; returns the prefixes
/// of those that were not revoked before.
///
/// # Errors
/// If the database does not answer.
pub async fn revoke(
    executor: impl PgExecutor<'_>,
    prefix_or_name: &str,
    revoked_by: Option<&str>,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "UPDATE longhaul.api_key SET revoked_at = now(), revoked_by = coalesce($2, 'database:' || session_user)
          WHERE (prefix = $1 OR name = $1) AND revoked_at IS NULL RETURNING prefix",
    )
    .bind(prefix_or_name)
    .bind(revoked_by)
    .fetch_all(executor)
    .await
}

/// Whether there ever was a key with this prefix or name.
///
/// # Errors
/// If the database does not answer.
pub async fn is_known(executor: impl PgExecutor<'_>, prefix_or_name: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM longhaul.api_key k WHERE k.prefix = $1 OR k.name = $1)")
        .bind(prefix_or_name)
        .fetch_one(executor)
        .await
}
