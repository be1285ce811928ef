//! `longhaul roles`

use clap::Args;
use longhaul_model::store::roles;
use sqlx::AssertSqlSafe;

use crate::database::{DatabaseArgs, connect};
use crate::host::Host;

/// The database roles of least privilege (longhaul_owner, longhaul_api, longhaul_worker,
/// longhaul_reader, longhaul_tenant_reader): makes them, gives the schema to
/// longhaul_owner and grants each what it needs. Shows the SQL unless told to apply it;
/// either is for an administrator of the database, before the first `migrate` or at any
/// later time.
#[derive(Debug, Args)]
pub(crate) struct Roles {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Do it, instead of showing the SQL that does.
    #[arg(long)]
    apply: bool,
}

impl Roles {
    pub(crate) async fn run(self, host: Host) -> anyhow::Result<()> {
        let pool = connect(self.database.for_a_session(), 2, "longhaul-roles").await?;
        let script = roles::script(&host.grants, host.is_migrated(&pool).await?);
        if !self.apply {
            print!("{script}");
            return Ok(());
        }
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&pool).await?;
        println!("The roles are there and have their rights. Grant them to logins: GRANT longhaul_api TO <login>;");
        Ok(())
    }
}
