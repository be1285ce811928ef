//! Deadlines for statements, kept by this side of the connection.

use std::future::Future;
use std::time::Duration;

/// How long a statement of the engine may take before its connection is given up. The
/// server ends statements of the engine's sessions before that by its own clock
/// (`statement_timeout`), so only a connection that has fallen silent gets here: a frozen
/// server, or a firewall that swallows what is sent.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// As [`DEADLINE`], for maintenance services, some of whose statements touch thousands of
/// rows.
pub const SERVICE_DEADLINE: Duration = Duration::from_secs(60);

/// Waits for `work` as long as `limit` at most. Dropping the work gives its connection back
/// to the pool, which closes a connection that does not answer.
///
/// # Errors
/// Those of `work`; an [`sqlx::Error::Io`] of the kind `TimedOut` after `limit`. The statement
/// may then still be carried out.
pub async fn within<T>(limit: Duration, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_elapsed| {
        let text = format!("the database did not answer within {limit:?}");
        Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text)))
    })
}
