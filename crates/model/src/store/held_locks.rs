//! Who stands in the way of the follower and the gatekeeper (docs/database-roles.md, Advisory locks).

use sqlx::{FromRow, PgExecutor};

/// A session that holds one of their locks outside a transaction. They take them within
/// transactions only, so it is none of ours, and holds it until it ends.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Holder {
    /// The session's process.
    pub pid: i32,
    /// Its login, as far as that is known.
    pub login: String,
    /// What can't go on, in words.
    pub stopped: String,
}

/// Such sessions.
///
/// # Errors
/// If the database does not answer.
pub async fn holders(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<Holder>> {
    // Outside a transaction the second part of its number is 0.
    sqlx::query_as(
        "SELECT k.pid, coalesce(a.usename, 'an unknown login')::text AS login, l.stopped
           FROM (SELECT 'tasks that wait for others' AS stopped, hashtextextended('longhaul.follow', 0) AS key
                  UNION ALL
                 SELECT 'tasks of the queue ' || q.name, hashtextextended('longhaul.admit:' || q.name, 0) FROM longhaul.queue q) AS l
           JOIN pg_locks k ON k.locktype = 'advisory' AND k.objsubid = 1 AND k.granted
                          AND (k.classid::bigint << 32) | k.objid::bigint = l.key
                          AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
           LEFT JOIN pg_stat_activity a ON a.pid = k.pid
          WHERE k.virtualtransaction LIKE '%/0'
          ORDER BY k.pid LIMIT 20",
    )
    .fetch_all(executor)
    .await
}
