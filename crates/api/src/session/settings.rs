//! How long sessions last.

use std::time::Duration;

/// How long sessions last.
#[derive(Debug, Clone, Copy)]
pub struct SessionSettings {
    /// Without a request for this long, one ends. Default 1 h.
    pub idle: Duration,
    /// After this long it ends in any case. Default 12 h.
    pub whole: Duration,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { idle: Duration::from_secs(3600), whole: Duration::from_secs(12 * 3600) }
    }
}
