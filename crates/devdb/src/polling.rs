//! How processes are watched.

use std::time::Duration;

/// How long to wait between two looks at a process.
pub(crate) const TICK: Duration = Duration::from_millis(10);
