//! What the exit code of a process says.

use std::fmt;

use serde_json::Value;

/// The task failed.
pub(crate) const FAILED: u8 = 3;
/// The task was cancelled.
pub(crate) const CANCELLED: u8 = 4;
/// The time to wait was over before the task was.
pub(crate) const TIMED_OUT: u8 = 5;
/// `doctor` found something that needs attention.
pub(crate) const FINDINGS: u8 = 6;
/// The command line is wrong, as only the API could detect.
pub(crate) const WRONG: u8 = 2;
/// Whoever read standard output has left (128 and the number of SIGPIPE, as shells have it).
pub(crate) const CLOSED: u8 = 141;
/// Interrupted: the task keeps running (128 plus the number of SIGINT, as in shells).
pub(crate) const DETACHED: u8 = 130;

/// Ends the process with a code of its own; what there was to say has been said.
#[derive(Debug)]
pub(crate) struct Exit(pub(crate) u8);

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ended with {}", self.0)
    }
}

impl std::error::Error for Exit {}

/// Tells how a task ended.
pub(crate) fn of_task(body: &Value) -> anyhow::Result<()> {
    match body["State"].as_str() {
        Some("Failed") => Err(Exit(FAILED).into()),
        Some("Cancelled") => Err(Exit(CANCELLED).into()),
        _ => Ok(()),
    }
}
