//! What dated migrations and today's functions and views are applied with.

use std::borrow::Cow;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;

/// The queue's own migrations. What has been applied stands in a table of its
/// own schema, so that a host's or a task crate's migrations don't mix with it.
pub static QUEUE: Migrator = Migrator {
    table_name: Cow::Borrowed("longhaul.migration"),
    create_schemas: Cow::Borrowed(&[Cow::Borrowed("longhaul")]),
    ..sqlx::migrate!("migrations/queue")
};

/// Settings of the session that migrates, whatever the database's or the role's own are.
/// `lock_timeout` is how long a migration waits for the lock on a table, unless it says
/// otherwise. Some migrations read the text of a function and change it, which is quoted as
/// `quote_all_identifiers` has it and escaped as `standard_conforming_strings` has it.
const SESSION: [(&str, &str); 6] = [
    ("lock_timeout", "5s"),
    ("statement_timeout", "0"),
    ("default_transaction_isolation", "read committed"),
    ("quote_all_identifiers", "off"),
    ("standard_conforming_strings", "on"),
    ("transform_null_equals", "off"),
];

/// Tries of a migration that does not get its lock, and the wait between two.
pub(super) const TRIES: u32 = 20;
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// One connection that changes the schema, as its owner.
pub(super) async fn owner(pool: &PgPool) -> sqlx::Result<PgPool> {
    let options = (*pool.connect_options()).clone().options(SESSION);
    PgPoolOptions::new()
        .max_connections(1)
        .after_connect(|connection, _| Box::pin(super::roles::become_owner(connection)))
        .connect_with(options)
        .await
}

/// Takes the locks of views before those of tables, as everyone does who reads a view.
/// `RESET` changes nothing: PostgreSQL has no `LOCK` for a view that leaves its tables
/// alone.
pub(super) const LOCK_VIEWS: &str = "DO $lock$
DECLARE
    seen regclass;
BEGIN
    FOR seen IN SELECT oid FROM pg_class WHERE relkind = 'v' AND relnamespace = 'longhaul'::regnamespace ORDER BY oid LOOP
        EXECUTE format('ALTER VIEW %s RESET (check_option)', seen);
    END LOOP;
END
$lock$;
";

/// SQLSTATE 55P03, lock_not_available; or 40P01, a deadlock: a transaction that wants
/// several of the tables in another order won.
pub(super) fn lost_to_others(error: &sqlx::Error) -> bool {
    matches!(super::failure::sqlstate(error).as_deref(), Some("55P03" | "40P01"))
}
