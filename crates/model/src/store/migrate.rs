//! The schema.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AssertSqlSafe, PgPool};

/// The queue's own migrations. What has been applied stands in a table of its
/// own schema, so that a host's or a task crate's migrations don't mix with it.
pub static QUEUE: Migrator = Migrator {
    table_name: Cow::Borrowed("longhaul.migration"),
    create_schemas: Cow::Borrowed(&[Cow::Borrowed("longhaul")]),
    ..sqlx::migrate!("../../migrations/queue")
};

/// Brings the queue's schema up to date. Several processes may call it at once:
/// an advisory lock lets one through at a time.
///
/// # Errors
/// When a migration fails (it is rolled back), or one that was applied earlier
/// has changed since.
pub async fn run(pool: &PgPool) -> Result<(), MigrateError> {
    QUEUE.run(pool).await
}

/// Whether every migration of `migrator` has been applied.
///
/// # Errors
/// When the database does not answer.
pub async fn is_current(pool: &PgPool, migrator: &Migrator) -> sqlx::Result<bool> {
    let table = &*migrator.table_name;
    let known: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(table).fetch_one(pool).await?;
    if !known {
        return Ok(false);
    }
    let sql = AssertSqlSafe(format!("SELECT version FROM {table} WHERE success"));
    let applied: Vec<i64> = sqlx::query_scalar(sql).fetch_all(pool).await?;
    Ok(migrator.iter().all(|migration| applied.contains(&migration.version)))
}
