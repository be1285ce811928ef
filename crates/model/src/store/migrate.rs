//! The schema.

use std::borrow::Cow;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool, SqlSafeStr};

/// The queue's own migrations. What has been applied stands in a table of its
/// own schema, so that a host's or a task crate's migrations don't mix with it.
pub static QUEUE: Migrator = Migrator {
    table_name: Cow::Borrowed("longhaul.migration"),
    create_schemas: Cow::Borrowed(&[Cow::Borrowed("longhaul")]),
    ..sqlx::migrate!("../../migrations/queue")
};

/// Brings the queue's schema up to date; see [`apply`].
///
/// # Errors
/// When a migration fails (it is rolled back), or one that was applied earlier
/// has changed since.
pub async fn run(pool: &PgPool) -> Result<(), MigrateError> {
    apply(&QUEUE, pool).await
}

/// How long a migration waits for the lock on a table, unless it says otherwise.
const LOCK_TIMEOUT: &str = "5s";
/// Tries of a migration that does not get its lock, and the wait between two.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_secs(1);

/// Applies the migrations that are not applied yet. Several processes may call it at
/// once: an advisory lock lets one through at a time.
///
/// A migration that changes a table waits for its lock for 5 s at most, since everything
/// else that wants the table queues up behind it; if it does not get it, because a long
/// transaction reads the table, or if PostgreSQL resolves a deadlock at its cost, it is
/// tried again after a second's rest, 20 times in all.
///
/// # Errors
/// When a migration fails (it is rolled back), or one that was applied earlier
/// has changed since.
pub async fn apply(migrator: &Migrator, pool: &PgPool) -> Result<(), MigrateError> {
    let mut tries = 1;
    loop {
        match apply_once(migrator, pool).await {
            Err(MigrateError::ExecuteMigration(error, version)) if lost_to_others(&error) && tries < TRIES => {
                tracing::warn!(version, "the migration did not get its lock in time; it is tried again");
                tries += 1;
            }
            // Another process migrates, which may take long.
            Err(MigrateError::Execute(error)) if lost_to_others(&error) => {}
            ended => return ended,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// On a connection of its own: one that failed still has sqlx's advisory lock, which
/// only its end gives back.
async fn apply_once(migrator: &Migrator, pool: &PgPool) -> Result<(), MigrateError> {
    let options = (*pool.connect_options()).clone().options([("lock_timeout", LOCK_TIMEOUT)]);
    let own = PgPoolOptions::new()
        .max_connections(1)
        .after_connect(|connection, _| Box::pin(super::roles::become_owner(connection)))
        .connect_with(options)
        .await?;
    let migrations = migrator.iter().map(views_first).collect();
    let migrator = Migrator {
        migrations: Cow::Owned(migrations),
        table_name: migrator.table_name.clone(),
        create_schemas: migrator.create_schemas.clone(),
        ignore_missing: migrator.ignore_missing,
        locking: migrator.locking,
        no_tx: migrator.no_tx,
    };
    let result = migrator.run(&own).await;
    own.close().await;
    result
}

/// Takes the locks of views before those of tables, as everyone does who reads a view.
/// `RESET` changes nothing: PostgreSQL has no `LOCK` for a view that leaves its tables
/// alone.
const LOCK_VIEWS: &str = "DO $lock$
DECLARE
    seen regclass;
BEGIN
    FOR seen IN SELECT oid FROM pg_class WHERE relkind = 'v' AND relnamespace = 'longhaul'::regnamespace ORDER BY oid LOOP
        EXECUTE format('ALTER VIEW %s RESET (check_option)', seen);
    END LOOP;
END
$lock$;
";

/// A migration that changes a table and then a view over it would wait for those who
/// read the view and wait for the table: a deadlock, which PostgreSQL ends at the
/// reader's cost. Its checksum stays that of the file.
fn views_first(migration: &Migration) -> Migration {
    let mut migration = migration.clone();
    let sql = migration.sql.as_str();
    if sql.contains("OR REPLACE VIEW") {
        migration.sql = AssertSqlSafe(format!("{LOCK_VIEWS}{sql}")).into_sql_str();
    }
    migration
}

/// SQLSTATE 55P03, lock_not_available; or 40P01, a deadlock: a transaction that wants
/// several of the tables in another order won.
fn lost_to_others(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03" || code == "40P01")
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
