//! Sessions of people with a browser.

use sqlx::{FromRow, PgExecutor};
use uuid::Uuid;

use super::stored::StoredTexts;

/// A session that begins.
#[derive(Debug, Clone)]
pub struct NewSession<'a> {
    /// SHA-256 of its id.
    pub id_hash: &'a [u8],
    /// Who it is, the same for ever.
    pub subject: &'a str,
    /// What people call them.
    pub name: &'a str,
    /// The API key that was shown, by its prefix.
    pub key_prefix: Option<&'a str>,
    /// What someone without a key may do.
    pub permissions: &'a [String],
    /// It ends after so many seconds, however it is used.
    pub seconds: i64,
}

/// A session that goes on.
#[derive(Debug, Clone, FromRow)]
pub struct Session {
    /// Who it is.
    pub subject: String,
    /// What people call them.
    pub name: String,
    /// What they may do: the key's permissions as they are now, if there is one.
    #[sqlx(try_from = "StoredTexts")]
    pub permissions: Vec<String>,
    /// In which projects; in all if absent.
    pub projects: Option<Vec<Uuid>>,
    /// Its use was not noted for a minute.
    pub stale: bool,
}

/// Stores a session, and forgets some that are over.
///
/// # Errors
/// If the database does not answer.
pub async fn begin(executor: impl PgExecutor<'_>, session: &NewSession<'_>) -> sqlx::Result<()> {
    sqlx::query(
        "WITH over AS (
             DELETE FROM longhaul.session WHERE id_hash IN (
                 SELECT id_hash FROM longhaul.session WHERE expires_at <= now() ORDER BY expires_at LIMIT 100
                 FOR UPDATE SKIP LOCKED))
         INSERT INTO longhaul.session (id_hash, subject, name, key_prefix, permissions, expires_at)
         VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))",
    )
    .bind(session.id_hash)
    .bind(session.subject)
    .bind(session.name)
    .bind(session.key_prefix)
    .bind(session.permissions)
    .bind(session.seconds as f64)
    .execute(executor)
    .await?;
    Ok(())
}

/// The session of this id, unless it is over, was not used for `idle_seconds`, or its
/// key is not valid any more.
///
/// # Errors
/// If the database does not answer.
pub async fn find(executor: impl PgExecutor<'_>, id_hash: &[u8], idle_seconds: i64) -> sqlx::Result<Option<Session>> {
    sqlx::query_as(
        "SELECT s.subject, s.name, coalesce(k.permissions, s.permissions) AS permissions, k.projects,
                s.used_at < now() - interval '1 minute' AS stale
           FROM longhaul.session s
           LEFT JOIN longhaul.api_key k ON k.prefix = s.key_prefix
          WHERE s.id_hash = $1
            AND s.expires_at > now()
            AND s.used_at > now() - make_interval(secs => $2)
            AND (s.key_prefix IS NULL OR (k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())))",
    )
    .bind(id_hash)
    .bind(idle_seconds as f64)
    .fetch_optional(executor)
    .await
}

/// Notes that a session is used.
///
/// # Errors
/// If the database does not answer.
pub async fn used(executor: impl PgExecutor<'_>, id_hash: &[u8]) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE longhaul.session SET used_at = now() WHERE id_hash = $1 AND used_at < now() - interval '1 minute'",
    )
    .bind(id_hash)
    .execute(executor)
    .await?;
    Ok(())
}

/// Ends a session, and says whose it was; nothing happens if there is none.
///
/// # Errors
/// If the database does not answer.
pub async fn end(executor: impl PgExecutor<'_>, id_hash: &[u8]) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("DELETE FROM longhaul.session WHERE id_hash = $1 RETURNING subject")
        .bind(id_hash)
        .fetch_optional(executor)
        .await
}
