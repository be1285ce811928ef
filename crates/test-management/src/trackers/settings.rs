//! How trackers are asked.

use std::time::Duration;

use longhaul_model::SecretKey;

/// How trackers are asked.
#[derive(Debug, Clone)]
pub struct TrackerSettings {
    /// Seals and opens stored credentials; without it none can be stored or
    /// used.
    pub secret_key: Option<SecretKey>,
    /// Keys that sealed credentials before; they still open them.
    pub older_secret_keys: Vec<SecretKey>,
    /// Also talk to loopback, private and link-local addresses, and to trackers
    /// without TLS. Off by default: whoever may enter a tracker's address could
    /// otherwise make this host ask its neighbours.
    pub allow_private: bool,
    /// A tracker must answer in this time, all tries together. Default 10 s.
    pub deadline: Duration,
    /// Tries in all, when it answers 429 or 5xx or the connection breaks.
    /// Default 3.
    pub tries: u32,
    /// Requests to one tracker at the same time. Default 8; more wait.
    pub at_once: usize,
}

impl Default for TrackerSettings {
    fn default() -> Self {
        Self {
            secret_key: None,
            older_secret_keys: Vec::new(),
            allow_private: false,
            deadline: Duration::from_secs(10),
            tries: 3,
            at_once: 8,
        }
    }
}
