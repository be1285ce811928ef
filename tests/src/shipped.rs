//! The parts of the program `longhaul`, put together as `crates/cli` does.

use longhaul_model::store::{migrate, roles};
use longhaul_model::{ProblemKind, Registry};
use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};

/// Its task types, without those of every program.
pub fn registry() -> Registry {
    longhaul_test_management::registry().with::<longhaul_webhooks::DeliverWebhook>()
}

/// Its own migrations, beside the queue's.
pub const MIGRATIONS: [&Migrator; 2] = [&longhaul_test_management::MIGRATIONS, &longhaul_webhooks::MIGRATIONS];

/// What the database roles may do.
pub const GRANTS: [&str; 3] = [roles::QUEUE_GRANTS, longhaul_test_management::GRANTS, longhaul_webhooks::GRANTS];

/// Every error code.
pub fn problem_kinds() -> Vec<ProblemKind> {
    [
        longhaul_api::KINDS,
        longhaul_dashboard::KINDS,
        longhaul_test_management::KINDS,
        longhaul_webhooks::KINDS,
        longhaul_model::problem::KINDS,
    ]
    .concat()
}

/// Every permission, with its purpose.
pub fn permissions() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    longhaul_api::access::permission::ALL
        .iter()
        .chain(longhaul_test_management::PERMISSIONS)
        .chain(longhaul_webhooks::PERMISSIONS)
}

/// Brings a database up to date: the schema, and what the database roles may do.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    migrate::run(pool).await?;
    for migrator in MIGRATIONS {
        migrate::apply(migrator, pool).await?;
    }
    roles::establish(pool, &GRANTS).await?;
    Ok(())
}
