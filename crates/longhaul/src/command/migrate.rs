//! `longhaul migrate`

use clap::Args;

use crate::database::connect;
use crate::database_args::DatabaseArgs;
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
        let pool = connect(self.database.for_a_session(), 2, "longhaul-migrate").await?;
        host.migrate(&pool).await?;
        println!("The schema is up to date.");
        Ok(())
    }
}
