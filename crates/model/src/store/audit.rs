//! Who did what.

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use sqlx::{FromRow, PgExecutor, Postgres};

use super::stored::{ShownOption, StoredTime};
use super::whole_micros;
use crate::bounded_text;

/// Something that someone does.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
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
pub struct RecordedEntry {
    /// Later ones have larger numbers, but for those of the same moment.
    pub number: i64,
    /// When.
    #[sqlx(try_from = "StoredTime")]
    pub at: DateTime<Utc>,
    /// See [`AuditEntry::who`].
    pub who: String,
    /// See [`AuditEntry::address`].
    pub address: Option<String>,
    /// See [`AuditEntry::deed`].
    pub deed: String,
    /// See [`AuditEntry::target`].
    pub target: Option<String>,
    /// See [`AuditEntry::details`].
    #[sqlx(try_from = "ShownOption")]
    pub details: Option<Value>,
}

/// A filter of audit entries, which match all given members.
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

/// Bytes of a name or a target at most; what is longer is cut. Both stand in indexes, whose
/// entries hold less than 2,704 bytes.
const INDEXED_BYTES: usize = 1_000;

/// Writes deeds down; in the transaction of the deeds themselves, both happen or
/// neither.
///
/// # Errors
/// If the database does not answer.
pub async fn record(executor: impl PgExecutor<'_>, deeds: &[AuditEntry]) -> sqlx::Result<()> {
    if deeds.is_empty() {
        return Ok(());
    }
    let _recorded: i64 = bind_entries(sqlx::query_scalar(RECORD), deeds).fetch_one(executor).await?;
    Ok(())
}

/// Records the entries that stand in these parameters ([`bind_entries`]).
macro_rules! insert_entries {
    ($who:literal, $address:literal, $deed:literal, $target:literal, $details:literal) => {
        concat!(
            "INSERT INTO longhaul.audit (who, address, deed, target, details)
             SELECT d.who, d.address::inet, d.deed, d.target, d.details
               FROM unnest(",
            $who,
            "::text[], ",
            $address,
            "::text[], ",
            $deed,
            "::text[], ",
            $target,
            "::text[], ",
            $details,
            "::jsonb[]) AS d(who, address, deed, target, details)"
        )
    };
}

pub(super) use insert_entries;

const RECORD: &str = concat!(
    "WITH recorded AS (",
    insert_entries!("$1", "$2", "$3", "$4", "$5"),
    " RETURNING 1) SELECT count(*) FROM recorded"
);

/// Binds entries to the next five parameters.
pub(super) fn bind_entries<'q, O>(
    query: QueryScalar<'q, Postgres, O, PgArguments>,
    deeds: &'q [AuditEntry],
) -> QueryScalar<'q, Postgres, O, PgArguments> {
    let target = |deed: &AuditEntry| deed.target.clone().map(|text| bounded_text(text, INDEXED_BYTES));
    query
        .bind(deeds.iter().map(|deed| bounded_text(deed.who.clone(), INDEXED_BYTES)).collect::<Vec<_>>())
        .bind(deeds.iter().map(|deed| deed.address.map(|address| address.to_string())).collect::<Vec<_>>())
        .bind(deeds.iter().map(|deed| deed.deed.as_str()).collect::<Vec<_>>())
        .bind(deeds.iter().map(target).collect::<Vec<_>>())
        .bind(deeds.iter().map(|deed| deed.details.as_ref()).collect::<Vec<_>>())
}

/// How many callers did something in the last week, if they are three or more and all came
/// from this machine itself: a proxy in front that is not trusted would look so.
///
/// # Errors
/// If the database does not answer.
pub async fn callers_on_loopback_alone(executor: impl PgExecutor<'_>) -> sqlx::Result<Option<i64>> {
    // The latest are enough, and soon read.
    sqlx::query_scalar(
        "SELECT nullif(count(DISTINCT a.who) * (count(*) FILTER (WHERE NOT a.local) = 0 AND count(DISTINCT a.who) > 2)::int, 0)
           FROM (SELECT who, address <<= '127.0.0.0/8' OR address = '::1' AS local FROM longhaul.audit
                  WHERE at > now() - interval '7 days' AND address IS NOT NULL ORDER BY number DESC LIMIT 10000) AS a",
    )
    .fetch_one(executor)
    .await
}

/// The latest matching audit entries, at most `limit`.
///
/// # Errors
/// If the database does not answer.
pub async fn entries(
    executor: impl PgExecutor<'_>,
    filter: &AuditFilter,
    limit: i64,
) -> sqlx::Result<Vec<RecordedEntry>> {
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
/// If the database does not answer.
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
