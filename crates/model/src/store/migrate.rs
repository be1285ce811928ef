//! The schema.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::{AssertSqlSafe, PgConnection, PgExecutor, PgPool, SqlSafeStr};

use super::current;
use super::migration_session::{LOCK_VIEWS, PAUSE, TRIES, lost_to_others, owner};

pub use super::migration_session::QUEUE;

/// Brings the queue's schema up to date: its migrations, and then today's functions and views
/// ([`super::current`]); see [`apply`].
///
/// # Errors
/// When a migration fails (it is rolled back), or one that was applied earlier
/// has changed since.
pub async fn run(pool: &PgPool) -> Result<(), MigrateError> {
    apply(&QUEUE, pool).await
}

/// Applies the migrations that are not applied yet, and the queue's functions and views with its
/// own. Several processes may call it at
/// once: an advisory lock lets one through at a time.
///
/// A migration that changes a table waits for its lock for 5 s at most, since everything
/// else that wants the table queues up behind it; if it does not get it, because a long
/// transaction reads the table, or if PostgreSQL resolves a deadlock at its cost, it is
/// tried again after a second's rest, 20 times in all.
///
/// # Errors
/// When the database is [`Unfit`] (nothing has changed then), a migration fails (it is
/// rolled back), or one that was applied earlier has changed since.
pub async fn apply(migrator: &Migrator, pool: &PgPool) -> Result<(), MigrateError> {
    if let Some(unfit) = unfit(pool, &[migrator]).await? {
        return Err(MigrateError::Execute(sqlx::Error::Configuration(unfit.into())));
    }
    let mut tries = 1;
    loop {
        match apply_once(migrator, pool).await {
            Err(MigrateError::ExecuteMigration(error, version)) if lost_to_others(&error) && tries < TRIES => {
                tracing::warn!(version, "the migration did not get its lock in time; retrying");
                tries += 1;
            }
            // Another process migrates, which may take long.
            Err(MigrateError::Execute(error)) if lost_to_others(&error) => {}
            Err(error) => return Err(error),
            Ok(()) => break,
        }
        tokio::time::sleep(PAUSE).await;
    }
    if current::belong_to(migrator) { current::apply(pool).await } else { Ok(()) }
}

/// On a connection of its own: one that failed still has sqlx's advisory lock, which
/// only its end gives back.
async fn apply_once(migrator: &Migrator, pool: &PgPool) -> Result<(), MigrateError> {
    let own = owner(pool).await?;
    let migrations = migrator.iter().map(|migration| views_first(&corrected(migration))).collect();
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

/// What is replaced in migrations of earlier releases, which can't be edited: a database where
/// one is applied knows its checksum. Each failed where this matters, so no database has the
/// wrong text.
///
/// PostgreSQL 16 and later write the columns of a view over one table without its name.
const CORRECTIONS: [(i64, &str, &str); 1] = [(
    20_261_126_120_100,
    r"'\m([ts])\.parameters,', 'longhaul.redacted(\1.parameters) AS parameters,'",
    r"'(\m[ts]\.)?\mparameters,', 'longhaul.redacted(\1parameters) AS parameters,'",
)];

/// With its [`CORRECTIONS`]. The checksum stays that of the file.
fn corrected(migration: &Migration) -> Migration {
    let mut migration = migration.clone();
    for (_, wrong, right) in CORRECTIONS.iter().filter(|(version, ..)| *version == migration.version) {
        migration.sql = AssertSqlSafe(migration.sql.as_str().replace(wrong, right)).into_sql_str();
    }
    migration
}

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

/// Why a database can't be migrated, and what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A standby, or a primary that someone made read-only.
    #[error("{0}")]
    ReadOnly(&'static str),
    /// Not every text can be stored in it.
    #[error(
        "the database's encoding is {0}, but tasks need UTF8, which can store any text. The encoding is chosen when \
         a database is created: CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'"
    )]
    Encoding(String),
    /// A schema of a name that is needed belongs to something else.
    #[error(
        "the schema {schema} already exists and contains {relation}, which does not belong to this program. Rename it (ALTER \
         SCHEMA {schema} RENAME TO …), or use another database"
    )]
    Taken {
        /// The schema.
        schema: String,
        /// Something in it.
        relation: String,
    },
}

/// What is to be done where nothing can be written.
pub const STANDBY: &str = "the database does not accept writes: it is a standby. Use the address of the primary";
/// The same where it was forbidden.
pub const READ_ONLY: &str = "the database does not accept writes: default_transaction_read_only is on for it, or \
    for this role; the address may be that of an old primary. If not: ALTER DATABASE … RESET default_transaction_read_only, or the same \
    with ALTER ROLE or ALTER SYSTEM, whichever has set it";

/// Why a session can't write, if it can't.
///
/// # Errors
/// When the database does not answer.
pub async fn read_only(executor: impl PgExecutor<'_>) -> sqlx::Result<Option<&'static str>> {
    let (standby, read_only): (bool, bool) =
        sqlx::query_as("SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::boolean")
            .fetch_one(executor)
            .await?;
    if standby || read_only {
        super::failure::suspect_sessions();
    }
    Ok(if standby { Some(STANDBY) } else { read_only.then_some(READ_ONLY) })
}

/// Why these migrations can't be applied here, if that can be told before the first one.
///
/// # Errors
/// When the database does not answer.
pub async fn unfit(pool: &PgPool, migrators: &[&Migrator]) -> sqlx::Result<Option<Unfit>> {
    // What others have migrated meanwhile is seen as a whole or not at all.
    let mut transaction = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    if let Some(why) = read_only(&mut *transaction).await? {
        return Ok(Some(Unfit::ReadOnly(why)));
    }
    let mut is_new = true;
    for migrator in migrators {
        let applied = applied(&mut transaction, migrator).await?;
        is_new &= applied.is_empty();
        let own = if applied.is_empty() { &*migrator.create_schemas } else { &[] };
        let missing = migrator.iter().filter(|migration| !applied.contains(&migration.version));
        let made = missing.flat_map(|migration| schemas_made_by(migration.sql.as_str()));
        for schema in own.iter().map(|schema| &**schema).chain(made) {
            if !applied.is_empty() && migrator.create_schemas.iter().any(|own| own == schema) {
                continue;
            }
            if let Some(relation) = something_in(&mut transaction, schema, &migrator.table_name).await? {
                return Ok(Some(Unfit::Taken { schema: schema.to_owned(), relation }));
            }
        }
    }
    // One that was made before this was looked at goes on as it is.
    let encoding: String =
        sqlx::query_scalar("SELECT current_setting('server_encoding')").fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok((is_new && encoding != "UTF8").then_some(Unfit::Encoding(encoding)))
}

/// The schemas that a migration makes, which says so on a line of its own.
fn schemas_made_by(sql: &str) -> impl Iterator<Item = &str> {
    sql.lines()
        .filter_map(|line| line.strip_prefix("CREATE SCHEMA "))
        .map(|rest| rest.strip_prefix("IF NOT EXISTS ").unwrap_or(rest))
        .map(|rest| rest.split([' ', ';']).next().unwrap_or(rest))
}

/// A table, view or function of a schema, but for what keeps account of migrations.
async fn something_in(connection: &mut PgConnection, schema: &str, account: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        "SELECT format('%s.%s', n.nspname, o.name)
           FROM pg_namespace n
          CROSS JOIN LATERAL (SELECT relname AS name FROM pg_class WHERE relnamespace = n.oid AND relkind IN ('r', 'v', 'm', 'f', 'p', 'S')
                              UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = n.oid) AS o
          WHERE n.nspname = $1 AND format('%s.%s', n.nspname, o.name) <> $2
          ORDER BY o.name LIMIT 1",
    )
    .bind(schema)
    .bind(account)
    .fetch_optional(connection)
    .await
}

/// The versions that have been applied.
pub(super) async fn applied(connection: &mut PgConnection, migrator: &Migrator) -> sqlx::Result<Vec<i64>> {
    let table = &*migrator.table_name;
    let known: bool =
        sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(table).fetch_one(&mut *connection).await?;
    if !known {
        return Ok(Vec::new());
    }
    let sql = AssertSqlSafe(format!("SELECT version FROM {table} WHERE success ORDER BY version"));
    sqlx::query_scalar(sql).fetch_all(connection).await
}

/// Whether every migration of `migrator` has been applied, and, if they are the queue's, whether
/// the database has this program's functions and views, or later ones.
///
/// # Errors
/// When the database does not answer.
pub async fn is_current(pool: &PgPool, migrator: &Migrator) -> sqlx::Result<bool> {
    let mut connection = pool.acquire().await?;
    let applied = applied(&mut connection, migrator).await?;
    Ok(migrator.iter().all(|migration| applied.contains(&migration.version))
        && (!current::belong_to(migrator)
            || !matches!(current::state(&mut connection).await?, current::State::Older(_))))
}

#[cfg(test)]
mod tests {
    use super::{CORRECTIONS, QUEUE, corrected};

    #[test]
    fn corrections_find_what_they_correct() {
        for (version, wrong, right) in CORRECTIONS {
            let migration = QUEUE.iter().find(|migration| migration.version == version).expect("a migration");
            assert!(migration.sql.as_str().contains(wrong), "{version}");
            let after = corrected(migration);
            assert!(after.sql.as_str().contains(right) && !after.sql.as_str().contains(wrong), "{version}");
            assert_eq!(after.checksum, migration.checksum);
        }
    }
}
