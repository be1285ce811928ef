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
        let pool = connect(&self.database.database_url, 2, "longhaul-migrate").await?;
        host.migrate(&pool).await?;
        println!("The schema is up to date.");
        Ok(())
    }
}
