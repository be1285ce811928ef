//! The task types that ship with Longhaul, one file each, and the records they
//! act on.

pub mod http;
pub mod import;
mod problem;
mod reindex;
pub mod search;

use std::borrow::Cow;

use longhaul_model::Registry;
use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};

pub use problem::KINDS;
pub use reindex::Reindex;

/// The schema of the records and the search index.
pub static MIGRATIONS: Migrator = Migrator {
    table_name: Cow::Borrowed("records.migration"),
    create_schemas: Cow::Borrowed(&[Cow::Borrowed("records")]),
    ..sqlx::migrate!("../../migrations/records")
};

/// Every shipped task type.
#[must_use]
pub fn registry() -> Registry {
    Registry::new().with::<Reindex>()
}

/// Brings the whole schema up to date: the queue's and the records'.
///
/// # Errors
/// When a migration fails; it is rolled back.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    longhaul_model::store::migrate::run(pool).await?;
    MIGRATIONS.run(pool).await
}
