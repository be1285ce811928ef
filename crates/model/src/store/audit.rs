//! Who did what.

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgExecutor};

use super::whole_micros;

/// Something that someone does.
#[derive(Debug, Clone, PartialEq)]
pub struct Deed {
    /// Who, as [`super::enqueue::NewTask::created_by`].
    pub who: String,
    /// From where.
    pub address: Option<IpAddr>,
    /// What: the id of an operation, e.g. `cancelTask`.
    pub deed: String,
    /// What it is done to: a task's public id, a queue, a path.
    pub target: Option<String>,
    /// What else is worth knowing; no secrets.
    pub details: Option<Value>,
}

/// A deed that was written down.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Entry {
    /// Later ones have larger numbers, but for those of the same moment.
    pub number: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// See [`Deed::who`].
    pub who: String,
    /// See [`Deed::address`].
    pub address: Option<String>,
    /// See [`Deed::deed`].
    pub deed: String,
    /// See [`Deed::target`].
    pub target: Option<String>,
    /// See [`Deed::details`].
    pub details: Option<Value>,
}

/// Which deeds: those that fit all that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this one.
    pub who: Option<String>,
    /// Of this kind.
    pub deed: Option<String>,
    /// Done to this.
    pub target: Option<String>,
    /// With smaller numbers than this.
    pub before: Option<i64>,
}

/// Writes deeds down; in the transaction of the deeds themselves, both happen or
/// neither.
///
/// # Errors
/// When the database does not answer.
pub async fn record(executor: impl PgExecutor<'_>, deeds: &[Deed]) -> sqlx::Result<()> {
    if deeds.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO longhaul.audit (who, address, deed, target, details)
         SELECT d.who, d.address::inet, d.deed, d.target, d.details
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::jsonb[]) AS d(who, address, deed, target, details)",
    )
    .bind(deeds.iter().map(|deed| deed.who.as_str()).collect::<Vec<_>>())
    .bind(deeds.iter().map(|deed| deed.address.map(|address| address.to_string())).collect::<Vec<_>>())
    .bind(deeds.iter().map(|deed| deed.deed.as_str()).collect::<Vec<_>>())
    .bind(deeds.iter().map(|deed| deed.target.as_deref()).collect::<Vec<_>>())
    .bind(deeds.iter().map(|deed| deed.details.as_ref()).collect::<Vec<_>>())
    .execute(executor)
    .await?;
    Ok(())
}

/// The latest deeds that fit, at most `limit`.
///
/// # Errors
/// When the database does not answer.
pub async fn entries(executor: impl PgExecutor<'_>, filter: &AuditFilter, limit: i64) -> sqlx::Result<Vec<Entry>> {
    sqlx::query_as(
        "SELECT a.number, a.at, a.who, host(a.address) AS address, a.deed, a.target, a.details
           FROM longhaul.audit a
          WHERE ($1::text IS NULL OR a.who = $1) AND ($2::text IS NULL OR a.deed = $2)
            AND ($3::text IS NULL OR a.target = $3) AND a.number < coalesce($4, 9223372036854775807)
          ORDER BY a.number DESC LIMIT $5",
    )
    .bind(&filter.who)
    .bind(&filter.deed)
    .bind(&filter.target)
    .bind(filter.before)
    .bind(limit)
    .fetch_all(executor)
    .await
}

/// Removes what was written down longer ago than this (a day at least), 10,000 rows at
/// most. Returns how many.
///
/// # Errors
/// When the database does not answer.
pub async fn prune(executor: impl PgExecutor<'_>, keep: Duration) -> sqlx::Result<u64> {
    // Numbers grow with time but for what is written at once: the oldest are at the left.
    let done = sqlx::query(
        "DELETE FROM longhaul.audit a
          USING (SELECT number FROM longhaul.audit ORDER BY number LIMIT 10000) oldest
          WHERE a.number = oldest.number
            AND a.at < now() - greatest($1 * interval '1 microsecond', interval '1 day 1 minute')",
    )
    .bind(whole_micros(keep))
    .execute(executor)
    .await?;
    Ok(done.rows_affected())
}
