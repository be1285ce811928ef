//! Start-up in any order: what is not there yet is waited for.

use std::time::{Duration, Instant};

use longhaul_model::store::is_passing;
use tokio_util::sync::CancellationToken;

/// How often it is tried.
const EVERY: Duration = Duration::from_secs(1);
/// How often the same cause is told again.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// The database has not been migrated yet.
#[derive(Debug, thiserror::Error)]
#[error("the database has not been migrated: {0}")]
pub(crate) struct Unmigrated(pub(crate) String);

/// The wait of a part of the process for a database that is there and migrated.
pub(crate) struct Waiting<'a> {
    part: &'static str,
    stop: &'a CancellationToken,
    /// Why it waits, and when it told so.
    told: Option<(String, Instant)>,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(part: &'static str, stop: &'a CancellationToken) -> Self {
        Self { part, stop, told: None }
    }

    /// Rests after a start that failed, and tells why, at once and every half a minute. Whether to
    /// try again: not if the process is to stop.
    ///
    /// # Errors
    /// What does not pass by itself, such as a wrong password or a missing right.
    pub(crate) async fn after(&mut self, error: anyhow::Error) -> anyhow::Result<bool> {
        if !may_come(&error) {
            return Err(error);
        }
        let why = format!("{error:#}");
        if self.told.as_ref().is_none_or(|(before, at)| *before != why || at.elapsed() > TOLD_EVERY) {
            tracing::warn!(why, "the {} waits for the database", self.part);
            self.told = Some((why, Instant::now()));
        }
        tokio::select! {
            () = self.stop.cancelled() => Ok(false),
            () = tokio::time::sleep(EVERY) => Ok(true),
        }
    }
}

/// Whether others may still start what is missing: the server, the database in it, or its schema.
fn may_come(error: &anyhow::Error) -> bool {
    // No database of this name; schema, table, column or function that a migration makes.
    const MISSING: [&str; 5] = ["3D000", "3F000", "42P01", "42703", "42883"];
    error.chain().any(|cause| match cause.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => false,
        Some(sqlx::Error::Io(_)) => true,
        Some(sqlx::Error::Database(error)) if error.code().is_some_and(|code| MISSING.contains(&&*code)) => true,
        Some(error) => is_passing(error),
        None => cause.is::<Unmigrated>(),
    })
}
