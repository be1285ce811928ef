//! What to start.

use std::path::PathBuf;

/// Describes the server that [`Server::start`](crate::Server::start) starts.
///
/// ```
/// # use longhaul_devdb::Options;
/// let options = Options::temporary()
///     .durable(false)
///     .setting("log_statement", "all");
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Options {
    pub(crate) kept: Option<PathBuf>,
    pub(crate) durable: bool,
    pub(crate) settings: Vec<(String, String)>,
}

impl Options {
    /// A server whose data is removed when it stops.
    pub fn temporary() -> Self {
        Self { kept: None, durable: true, settings: Vec::new() }
    }

    /// A server whose data stays in `directory`, which is created if it is missing.
    pub fn kept(directory: impl Into<PathBuf>) -> Self {
        Self { kept: Some(directory.into()), ..Self::temporary() }
    }

    /// Whether committed data survives a crash of the machine (the default).
    ///
    /// `false` is faster and sufficient for tests: data survives a crash of PostgreSQL, but not one
    /// of the operating system.
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Sets one of PostgreSQL's own settings, instead of this crate's default.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Sets several of PostgreSQL's own settings; see [`setting`](Self::setting).
    pub fn settings(mut self, settings: impl IntoIterator<Item = (String, String)>) -> Self {
        self.settings.extend(settings);
        self
    }

    /// Every setting for the command line; of a name given twice the last one wins.
    pub(crate) fn all_settings(&self) -> Vec<(String, String)> {
        let mut defaults = vec![
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", ""),
            ("max_connections", "200"),
            ("shared_buffers", "256MB"),
            ("max_wal_size", "1GB"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            ("log_destination", "stderr"),
            ("logging_collector", "off"),
        ];
        if !self.durable {
            // Not synchronous_commit: without fsync it costs next to nothing, and
            // turning it off would lose the last commits when PostgreSQL crashes,
            // which is just what tests of an immediate restart are about.
            defaults.extend([("fsync", "off"), ("full_page_writes", "off")]);
        }
        defaults
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .chain(self.settings.iter().cloned())
            .collect()
    }
}
