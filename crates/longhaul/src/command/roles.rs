//! `longhaul roles`

use clap::Args;
use longhaul_model::store::roles;
use sqlx::AssertSqlSafe;

use crate::database::connect;
use crate::database_args::DatabaseArgs;
use crate::host::Host;

/// Creates the least-privilege database roles (longhaul_owner, longhaul_api, longhaul_worker,
/// longhaul_reader, longhaul_tenant_reader), gives the schema to longhaul_owner and grants each
/// role the rights it needs. Prints the SQL unless --apply is given. An administrator of the
/// database runs the SQL, before the first `migrate` or later.
#[derive(Debug, Args)]
pub(crate) struct Roles {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Apply the SQL instead of printing it.
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
        println!("The roles exist and have their rights. Grant them to logins: GRANT longhaul_api TO <login>;");
        Ok(())
    }
}
