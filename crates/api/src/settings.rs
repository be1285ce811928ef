//! Settings of the API.

use crate::access::IpNet;
use crate::limit::Limits;

/// Settings of the API.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// The public address, without a slash at the end; what `Self` and
    /// `Location` begin with.
    pub base_url: String,
    /// Request bodies above this many bytes are refused with 413. Default 1 MiB.
    pub body_limit: usize,
    /// The same for batches of tasks. Default 16 MiB.
    pub batch_body_limit: usize,
    /// A stream of task bodies that has been silent for this long says that it
    /// is still there, so that proxies keep it open. Default 15 s.
    pub stream_heartbeat: std::time::Duration,
    /// A stream reads its task this often even if no notification comes. Default 1 s.
    pub stream_poll: std::time::Duration,
    /// Proxies that are believed what they say in `X-Forwarded-For`. None by default.
    pub trusted_proxies: Vec<IpNet>,
    /// Names under which clients may reach this server, besides that of the public address
    /// and of this machine itself; without a port. None by default.
    pub hosts: Vec<String>,
    /// What one client may use.
    pub limits: Limits,
}

impl AppSettings {
    /// Defaults, under this public address.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into().trim_end_matches('/').to_owned(),
            body_limit: 1024 * 1024,
            batch_body_limit: 16 * 1024 * 1024,
            stream_heartbeat: std::time::Duration::from_secs(15),
            stream_poll: std::time::Duration::from_secs(1),
            trusted_proxies: Vec::new(),
            hosts: Vec::new(),
            limits: Limits::default(),
        }
    }
}
