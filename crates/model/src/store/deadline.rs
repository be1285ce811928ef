//! Deadlines for statements, kept by this side of the connection.

use std::future::Future;
use std::io::{Error, ErrorKind};
use std::time::Duration;

use super::failure::note;
use crate::hosts::server_changed;

/// How long a statement of the engine may take before its connection is given up. The
/// server ends statements of the engine's sessions before that by its own clock
/// (`statement_timeout`), so only a connection that has fallen silent gets here: a frozen
/// server, or a firewall that swallows what is sent.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// As [`DEADLINE`], for maintenance services, some of whose statements touch thousands of
/// rows.
pub const SERVICE_DEADLINE: Duration = Duration::from_secs(60);

/// Waits for `work` as long as `limit` at most, and not for a server that another one has replaced
/// ([`crate::hosts`]). Dropping the work gives its connection back to the pool, which closes a
/// connection that does not answer.
///
/// # Errors
/// Those of `work`; an [`sqlx::Error::Io`] of the kind `TimedOut` after `limit`, and
/// `ConnectionAborted` if the server was replaced. The statement may then still be carried out.
pub async fn within<T>(limit: Duration, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let given_up = |kind, text: String| Err(sqlx::Error::Io(Error::new(kind, text)));
    let result = tokio::select! {
        biased;
        done = tokio::time::timeout(limit, work) => done.unwrap_or_else(|_elapsed| {
            given_up(ErrorKind::TimedOut, format!("the database did not answer within {limit:?}"))
        }),
        () = server_changed() => {
            given_up(ErrorKind::ConnectionAborted, "another server takes writes now".to_owned())
        }
    };
    result.inspect_err(note)
}
