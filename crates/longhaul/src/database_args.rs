//! The arguments that name the database.

use clap::Args;

use crate::host::Host;

/// Where the database is.
#[derive(Debug, Clone, Args)]
pub(crate) struct DatabaseArgs {
    /// The database, e.g. postgres://user:password@host/name. Several servers of which one takes
    /// writes: postgres://user:password@host1,host2/name.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: String,
    /// The address of the same database without the pooler, for LISTEN and migrations.
    /// Required if --database-url is the address of a PgBouncer in transaction mode.
    #[arg(long, env = "LONGHAUL_DIRECT_DATABASE_URL", hide_env_values = true)]
    pub(crate) direct_database_url: Option<String>,
}

impl DatabaseArgs {
    /// The address that leads to a session: past the pooler, if there is one.
    pub(crate) fn for_a_session(&self) -> &str {
        self.direct_database_url.as_deref().unwrap_or(&self.database_url)
    }

    /// The host as it is with this database, and where its statements go.
    pub(crate) fn apply(self, host: Host) -> (Host, String) {
        (host.with_direct_database(self.direct_database_url), self.database_url)
    }
}
