//! `longhaul migrate`

use clap::Args;

use crate::database::{DatabaseArgs, connect};
use crate::host::Host;

/// Brings the database's schema up to date. Safe to run from several places at
/// once, and again.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    database: DatabaseArgs,
}

impl Migrate {
    pub(crate) async fn run(self, host: Host) -> anyhow::Result<()> {
        // Migrations take locks that belong to a session.
        let url = self.database.direct_database_url.unwrap_or(self.database.database_url);
        let pool = connect(&url, 2, "longhaul-migrate").await?;
        host.migrate(&pool).await?;
        println!("The schema is up to date.");
        Ok(())
    }
}
