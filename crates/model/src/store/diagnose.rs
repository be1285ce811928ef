//! What may be wrong with a database: for `doctor`. Nothing here changes anything, and
//! every query is cheap whatever the number of tasks.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgListener;
use sqlx::{FromRow, PgExecutor, PgPool};

/// The server and who asks it.
#[derive(Debug, Clone, FromRow)]
pub struct Server {
    /// E.g. `15.8`.
    pub version: String,
    /// E.g. 150008.
    pub version_number: i32,
    /// It is a standby: nothing can be written.
    pub is_standby: bool,
    /// It is a primary, and yet nothing can be written: `default_transaction_read_only`.
    pub read_only: bool,
    /// `server_encoding`.
    pub encoding: String,
    /// `fsync`; without, a crash may lose or corrupt everything.
    pub fsync: bool,
    /// `full_page_writes`; without, a crash may corrupt pages.
    pub full_page_writes: bool,
    /// `synchronous_commit`; `off` may lose what was accepted last.
    pub synchronous_commit: String,
    /// `autovacuum` and `track_counts`, which it needs.
    pub autovacuum: bool,
    /// Connections there are, and may be.
    pub connections: i64,
    /// See `connections`.
    pub max_connections: i64,
    /// The role that asks.
    pub role: String,
    /// That role sees what others' sessions do.
    pub sees_others: bool,
    /// Transactions since the oldest that is not frozen; at 2,147,483,648 the server
    /// stops.
    pub xid_age: i64,
    /// The server's clock.
    pub now: DateTime<Utc>,
}

/// Reads it.
///
/// # Errors
/// If the database does not answer.
pub async fn server(executor: impl PgExecutor<'_>) -> sqlx::Result<Server> {
    sqlx::query_as(
        "SELECT current_setting('server_version') AS version,
                current_setting('server_version_num')::int AS version_number,
                pg_is_in_recovery() AS is_standby,
                current_setting('transaction_read_only')::bool AS read_only,
                current_setting('server_encoding') AS encoding,
                current_setting('fsync')::bool AS fsync,
                current_setting('full_page_writes')::bool AS full_page_writes,
                current_setting('synchronous_commit') AS synchronous_commit,
                current_setting('autovacuum')::bool AND current_setting('track_counts')::bool AS autovacuum,
                (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
                current_setting('max_connections')::bigint AS max_connections,
                current_user::text AS role,
                pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_others,
                (SELECT max(age(datfrozenxid))::bigint FROM pg_database) AS xid_age,
                clock_timestamp() AS now",
    )
    .fetch_one(executor)
    .await
}

/// A setting of the database or of one of our roles that gets in the way.
#[derive(Debug, Clone, FromRow)]
pub struct Setting {
    /// With its value.
    pub setting: String,
    /// Where it is set, in words.
    pub place: String,
    /// What it does to the queue.
    pub matters: String,
    /// SQL that takes it back.
    pub mend: String,
}

/// Such settings, as `ALTER DATABASE` and `ALTER ROLE` made them.
///
/// # Errors
/// If the database does not answer.
pub async fn settings(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<Setting>> {
    sqlx::query_as(
        "WITH known(name, harmless, matters) AS (VALUES
             ('statement_timeout', '0', 'it ends statements of handlers, whose attempts are then made again'),
             ('lock_timeout', '0', 'it ends statements of handlers that wait, whose attempts are then made again'),
             ('transaction_timeout', '0', 'it ends transactions of handlers, whose attempts are then made again'),
             ('default_transaction_isolation', 'read committed', 'transactions of handlers fail where they would wait, and their attempts are made again'),
             ('default_transaction_read_only', 'off', 'nothing can be stored'),
             ('session_replication_role', 'origin', 'triggers do not fire'),
             ('standard_conforming_strings', 'on', 'statements of handlers mean something else'),
             ('quote_all_identifiers', 'off', 'names are written otherwise than handlers may expect')
         ), set_here AS (
             SELECT d.setdatabase, d.setrole, split_part(one, '=', 1) AS name, substr(one, strpos(one, '=') + 1) AS value
               FROM pg_db_role_setting d CROSS JOIN unnest(d.setconfig) AS one
              WHERE d.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
                AND (d.setrole = 0 OR d.setrole = (SELECT oid FROM pg_roles WHERE rolname = current_user)
                     OR EXISTS (SELECT FROM pg_roles r WHERE r.rolname IN ('longhaul_api', 'longhaul_worker', 'longhaul_owner')
                                   AND pg_has_role(d.setrole, r.oid, 'MEMBER')))
         )
         SELECT format('%s = %s', h.name, h.value) AS setting,
                CASE WHEN h.setrole = 0 THEN 'for the database' ELSE format('for role %s', h.setrole::regrole) END AS place,
                k.matters,
                format('ALTER %s RESET %I', CASE WHEN h.setrole = 0 THEN format('DATABASE %I', current_database())
                                                 WHEN h.setdatabase = 0 THEN format('ROLE %s', h.setrole::regrole)
                                                 ELSE format('ROLE %s IN DATABASE %I', h.setrole::regrole, current_database()) END,
                       h.name) AS mend
           FROM set_here h JOIN known k ON k.name = h.name
          WHERE lower(h.value) <> k.harmless
          ORDER BY 2, 1",
    )
    .fetch_all(executor)
    .await
}

/// Tasks whose time has come, and that no worker has made ready.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct Overdue {
    /// How many; 10,000 if more.
    pub tasks: i64,
    /// For how long the first of them.
    pub seconds: f64,
}

/// Such tasks, if there are any that have been due for longer than this.
///
/// # Errors
/// If the database does not answer.
pub async fn overdue(executor: impl PgExecutor<'_>, longer_than: Duration) -> sqlx::Result<Option<Overdue>> {
    sqlx::query_as(
        "SELECT count(*) AS tasks, extract(epoch FROM now() - min(run_at))::float8 AS seconds
           FROM (SELECT run_at FROM longhaul.scheduled
                  WHERE run_at < now() - $1 * interval '1 microsecond' ORDER BY run_at LIMIT 10000) AS due
         HAVING count(*) > 0",
    )
    .bind(super::whole_micros(longer_than))
    .fetch_optional(executor)
    .await
}

/// Migrations of a database beside those of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Those of the program that have not been applied.
    pub missing: Vec<i64>,
    /// Those that have been applied and the program does not know.
    pub unknown: Vec<i64>,
}

/// Compares them.
///
/// # Errors
/// If the database does not answer.
pub async fn applied(pool: &PgPool, migrator: &Migrator) -> sqlx::Result<Applied> {
    let applied = super::migrate::applied(&mut *pool.acquire().await?, migrator).await?;
    let ours: Vec<i64> = migrator.iter().map(|migration| migration.version).collect();
    Ok(Applied {
        missing: ours.iter().copied().filter(|version| !applied.contains(version)).collect(),
        unknown: applied.into_iter().filter(|version| !ours.contains(version)).collect(),
    })
}

/// A table of the queue, as the statistics have it.
#[derive(Debug, Clone, FromRow)]
pub struct Table {
    /// With its schema.
    pub name: String,
    /// Rows.
    pub live: i64,
    /// Versions of rows that vacuum has yet to remove.
    pub dead: i64,
    /// With indexes and what is stored out of line.
    pub bytes: i64,
    /// Its settings turn autovacuum off.
    pub autovacuum_off: bool,
    /// When vacuum last finished with it.
    pub vacuumed_at: Option<DateTime<Utc>>,
    /// What a vacuum that is under way does, e.g. `scanning heap`, and for how many
    /// per cent of the table it has.
    pub vacuuming: Option<String>,
}

/// The tables of the queue.
///
/// # Errors
/// If the database does not answer.
pub async fn tables(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<Table>> {
    sqlx::query_as(
        "SELECT format('%I.%I', 'longhaul', c.relname) AS name, s.n_live_tup AS live, s.n_dead_tup AS dead,
                pg_total_relation_size(c.oid) AS bytes,
                coalesce((SELECT NOT option_value::bool FROM pg_options_to_table(c.reloptions)
                           WHERE option_name = 'autovacuum_enabled'), false) AS autovacuum_off,
                greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed_at,
                (SELECT p.phase || ', ' || round(100.0 * p.heap_blks_scanned / greatest(p.heap_blks_total, 1)) || ' %'
                   FROM pg_stat_progress_vacuum p WHERE p.relid = c.oid LIMIT 1) AS vacuuming
           FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
          WHERE c.relnamespace = to_regnamespace('longhaul') AND c.relkind = 'r'
          ORDER BY c.relname",
    )
    .fetch_all(executor)
    .await
}

/// Something that keeps vacuum from removing what is dead: the oldest snapshot.
#[derive(Debug, Clone, FromRow)]
pub struct Pin {
    /// What it is, in words.
    pub what: String,
    /// For how long, if that is known.
    pub seconds: Option<f64>,
    /// SQL that ends it.
    pub mend: String,
}

/// Transactions that are older than `older_than`, prepared ones, and replication slots
/// that hold back vacuum by more than a million transactions.
///
/// # Errors
/// If the database does not answer.
pub async fn pins(executor: impl PgExecutor<'_>, older_than: Duration) -> sqlx::Result<Vec<Pin>> {
    sqlx::query_as(
        "SELECT format('a transaction of %s (%s, process %s, %s)', usename, nullif(application_name, ''), pid, state) AS what,
                extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds,
                format('SELECT pg_terminate_backend(%s)', pid) AS mend
           FROM pg_stat_activity
          WHERE xact_start < clock_timestamp() - $1 * interval '1 microsecond' AND pid <> pg_backend_pid()
            AND backend_type = 'client backend' AND (datname = current_database() OR backend_xmin IS NOT NULL)
          UNION ALL
         SELECT format('the prepared transaction %s of %s', gid, owner),
                extract(epoch FROM clock_timestamp() - prepared)::float8, format('ROLLBACK PREPARED %L', gid)
           FROM pg_prepared_xacts WHERE prepared < clock_timestamp() - $1 * interval '1 microsecond'
          UNION ALL
         SELECT format('the replication slot %s', slot_name), NULL, format('SELECT pg_drop_replication_slot(%L)', slot_name)
           FROM pg_replication_slots WHERE greatest(age(xmin), age(catalog_xmin)) > 1000000
          ORDER BY seconds DESC NULLS LAST LIMIT 20",
    )
    .bind(super::whole_micros(older_than))
    .fetch_all(executor)
    .await
}

/// Leases of a dead worker that no worker has rescued.
#[derive(Debug, Clone, FromRow)]
pub struct StuckLeases {
    /// The worker's name.
    pub worker: String,
    /// Tasks that they hold.
    pub tasks: i64,
    /// For how long the worker has been silent.
    pub seconds: f64,
}

/// Leases whose worker there is not, or has been silent for five times what makes it
/// presumed dead: some worker that is alive should have put them back.
///
/// # Errors
/// If the database does not answer.
pub async fn stuck_leases(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<StuckLeases>> {
    sqlx::query_as(
        "SELECT coalesce(w.name, format('worker %s', l.worker_id)) AS worker, sum(cardinality(l.task_ids))::bigint AS tasks,
                extract(epoch FROM now() - longhaul.heard(coalesce(max(w.heartbeat_at), min(l.claimed_at)), now()))::float8 AS seconds
           FROM longhaul.lease l LEFT JOIN longhaul.worker w ON w.id = l.worker_id
          WHERE (w.heartbeat_at < now() - w.heartbeat_ms * 5 * interval '1.7 ms'
                 AND (SELECT v.state FROM longhaul.workers v WHERE v.id = w.id) <> 'alive')
             OR (w.id IS NULL AND l.claimed_at < now() - interval '1 minute')
          GROUP BY l.worker_id, w.name ORDER BY 2 DESC LIMIT 20",
    )
    .fetch_all(executor)
    .await
}

/// A queue with tasks that may run or be admitted, which no worker that is alive serves.
#[derive(Debug, Clone, FromRow)]
pub struct Unserved {
    /// Its name.
    pub queue: String,
    /// Tasks that wait there; 10,000 if more.
    pub ready: i64,
}

/// Such queues.
///
/// # Errors
/// If the database does not answer.
pub async fn unserved(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<Unserved>> {
    sqlx::query_as(
        "SELECT n.queue, (SELECT count(*) FROM (SELECT FROM longhaul.ready r WHERE r.queue = n.queue LIMIT 10000) t) AS ready
           FROM longhaul.queue_names n
          WHERE EXISTS (SELECT FROM longhaul.ready r WHERE r.queue = n.queue)
            AND NOT EXISTS (SELECT FROM longhaul.queue q WHERE q.name = n.queue AND q.paused_at IS NOT NULL)
            AND NOT EXISTS (SELECT FROM longhaul.workers w WHERE w.state = 'alive' AND n.queue = ANY (w.queues))",
    )
    .fetch_all(executor)
    .await
}

/// Paused task types of which tasks are among the first that are held or ready: a claim holds
/// those that it meets.
///
/// # Errors
/// If the database does not answer.
pub async fn paused_types(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT y.name FROM longhaul.task_type y
          WHERE y.paused_at IS NOT NULL
            AND y.name IN (SELECT h.type FROM (SELECT type FROM longhaul.held LIMIT 100000) h
                           UNION
                           SELECT t.type FROM (SELECT coalesce(task_id, id) AS id FROM longhaul.ready LIMIT 10000) r
                             JOIN longhaul.task t USING (id))
          ORDER BY y.name",
    )
    .fetch_all(executor)
    .await
}

/// What the role that asks may not do with the queue's tables, as statements that would
/// grant it. Who has one of the roles `longhaul_owner`, `longhaul_api` and
/// `longhaul_worker` lacks nothing.
///
/// # Errors
/// If the database does not answer.
pub async fn missing_rights(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "WITH ours AS (
             SELECT pg_has_role(current_user, r.oid, 'USAGE') AS has FROM pg_roles r
              WHERE r.rolname IN ('longhaul_owner', 'longhaul_api', 'longhaul_worker')
         ), lacking AS (
             SELECT c.relname FROM pg_class c
              WHERE c.relnamespace = to_regnamespace('longhaul') AND c.relkind = 'r' AND c.relname <> 'migration'
                AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
                         AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
         )
         SELECT format('GRANT longhaul_api TO %I; -- of serve; longhaul_worker of work', current_user)
          WHERE EXISTS (SELECT FROM ours) AND NOT EXISTS (SELECT FROM ours WHERE has) AND EXISTS (SELECT FROM lacking)
          UNION ALL
         SELECT format('GRANT USAGE ON SCHEMA longhaul TO %I', current_user)
          WHERE NOT EXISTS (SELECT FROM ours) AND NOT has_schema_privilege('longhaul', 'USAGE')
          UNION ALL
         SELECT format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I',
                       string_agg(format('longhaul.%I', relname), ', ' ORDER BY relname), current_user)
           FROM lacking WHERE NOT EXISTS (SELECT FROM ours)
         HAVING count(*) > 0",
    )
    .fetch_all(executor)
    .await
}

/// Whether a notification arrives within `patience` on the way that this pool takes: not
/// through a pooler that gives each transaction another session.
///
/// # Errors
/// If the database does not answer.
pub async fn hears_notifications(pool: &PgPool, patience: Duration) -> sqlx::Result<bool> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen("longhaul_doctor").await?;
    // Several, since a pooler may happen to choose the session that listens for one.
    for _ in 0..3 {
        let told = uuid::Uuid::now_v7().to_string();
        sqlx::query("SELECT pg_notify('longhaul_doctor', $1)").bind(&told).execute(pool).await?;
        let heard = async {
            loop {
                if listener.recv().await?.payload() == told {
                    return Ok::<_, sqlx::Error>(());
                }
            }
        };
        match tokio::time::timeout(patience, heard).await {
            Ok(heard) => heard?,
            Err(_elapsed) => return Ok(false),
        }
    }
    Ok(true)
}

/// How much has come about since the server's statistics were reset; they are about a
/// second old.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromRow)]
pub struct Counts {
    /// Tasks stored.
    pub stored: i64,
    /// Tasks taken out of their queue: begun, or cancelled while they waited.
    pub begun: i64,
    /// Attempts that failed.
    pub failed_attempts: i64,
}

/// Reads them, however many tasks there are.
///
/// # Errors
/// If the database does not answer.
pub async fn counts(executor: impl PgExecutor<'_>) -> sqlx::Result<Counts> {
    sqlx::query_as(
        "SELECT coalesce(pg_stat_get_tuples_inserted(to_regclass('longhaul.task')), 0) AS stored,
                coalesce(pg_stat_get_tuples_deleted(to_regclass('longhaul.ready')), 0) AS begun,
                coalesce(pg_stat_get_tuples_inserted(to_regclass('longhaul.attempt_error')), 0) AS failed_attempts",
    )
    .fetch_one(executor)
    .await
}
