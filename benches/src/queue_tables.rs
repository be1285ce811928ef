//! What benchmarks ask the queue's tables: set the scene, wait for its end, and
//! count what it cost. Only for a database that belongs to a benchmark.

use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

/// Empties the queue, including its history.
pub(crate) async fn clear(pool: &PgPool) -> sqlx::Result<()> {
    sqlx::raw_sql(
        "TRUNCATE longhaul.successes, longhaul.task, longhaul.ready, longhaul.scheduled, longhaul.held, longhaul.admitted, longhaul.lease,
                  longhaul.cancel_request, longhaul.task_key, longhaul.watched, longhaul.unsuccessful CASCADE;
         -- As in a new database: else a worker counts all tasks as it starts.
         INSERT INTO longhaul.successes (tasks, counted_at) VALUES (0, now())",
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Brings the tables to the state that autovacuum would bring them to, and
/// writes out what is dirty, so that runs begin alike.
pub(crate) async fn settle(pool: &PgPool) -> sqlx::Result<()> {
    for statement in ["VACUUM ANALYZE longhaul.task", "VACUUM ANALYZE longhaul.ready", "CHECKPOINT"] {
        sqlx::raw_sql(statement).execute(pool).await?;
    }
    Ok(())
}

/// Whether nothing is ready and nothing is at work.
pub(crate) async fn is_drained(executor: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT NOT EXISTS (SELECT FROM longhaul.ready) AND NOT EXISTS (SELECT FROM longhaul.lease)")
        .fetch_one(executor)
        .await
}

/// How many tasks have succeeded.
pub(crate) async fn succeeded(executor: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'").fetch_one(executor).await
}

/// Whether this task has succeeded.
pub(crate) async fn has_succeeded(executor: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM longhaul.task WHERE id = $1 AND state = 'Succeeded')")
        .bind(id)
        .fetch_one(executor)
        .await
}

/// How many workers are registered.
pub(crate) async fn workers(executor: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM longhaul.worker").fetch_one(executor).await
}

/// How many connections workloads have.
pub(crate) async fn connections(executor: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity
          WHERE datname = current_database() AND application_name = 'longhaul-bench-load'",
    )
    .fetch_one(executor)
    .await
}

/// How many tasks there are, and how many of them are ready.
pub(crate) async fn stored(executor: impl PgExecutor<'_>) -> sqlx::Result<(i64, i64)> {
    sqlx::query_as("SELECT (SELECT count(*) FROM longhaul.task), (SELECT count(*) FROM longhaul.ready)")
        .fetch_one(executor)
        .await
}

/// Stores tasks that succeeded a day ago, `count` of them, as they would lie in
/// the table: written once, updated once, vacuumed.
pub(crate) async fn fill_history(pool: &PgPool, type_name: &str, queue: &str, count: i64) -> sqlx::Result<()> {
    const AT_ONCE: i64 = 500_000;
    let mut from = 0;
    while from < count {
        let to = (from + AT_ONCE).min(count);
        sqlx::query(
            "INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, state, attempt, fraction,
                                        accepted_at, started_at, finished_at)
             SELECT (lpad(to_hex((extract(epoch FROM now() - interval '1 day') * 1000)::bigint - $4 + n), 12, '0')
                     || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
                    $1, $2, 5, 3, 'Succeeded', 1, 1,
                    now() - interval '1 day', now() - interval '1 day', now() - interval '1 day'
               FROM generate_series($3 + 1, $5) AS n",
        )
        .bind(type_name)
        .bind(queue)
        .bind(from)
        .bind(count)
        .bind(to)
        .execute(pool)
        .await?;
        from = to;
    }
    Ok(())
}

/// Running totals of the server and of this database.
#[derive(Debug, Clone, Copy, Default, sqlx::FromRow)]
pub(crate) struct Counters {
    /// Bytes of WAL written since the server was made, by every database.
    pub(crate) wal_bytes: f64,
    /// Transactions committed in this database, reading ones included.
    pub(crate) commits: i64,
    /// Pages asked of the buffer cache by this database.
    pub(crate) buffers: i64,
    /// Rows of `task` that were updated …
    pub(crate) updates: i64,
    /// … and how many of these updates wrote no index.
    pub(crate) hot_updates: i64,
    /// Versions of rows that updates and deletions left behind, in all tables of the queue.
    pub(crate) dead_rows: i64,
    /// Bytes of `task`, without its index.
    pub(crate) task_bytes: i64,
    /// Bytes of `ready` and its index.
    pub(crate) ready_bytes: i64,
}

/// The totals now. Connections report what they did when they end; those that are
/// idle, up to ten seconds late.
pub(crate) async fn counters(executor: impl PgExecutor<'_>) -> sqlx::Result<Counters> {
    sqlx::query_as(
        "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8 AS wal_bytes,
                d.xact_commit AS commits, d.blks_hit + d.blks_read AS buffers,
                t.n_tup_upd AS updates, t.n_tup_hot_upd AS hot_updates,
                (SELECT sum(a.n_tup_upd + a.n_tup_del)::bigint FROM pg_stat_user_tables a
                  WHERE a.schemaname = 'longhaul') AS dead_rows,
                pg_table_size('longhaul.task') AS task_bytes, pg_total_relation_size('longhaul.ready') AS ready_bytes
           FROM pg_stat_database d
           JOIN pg_stat_user_tables t ON t.relid = 'longhaul.task'::regclass
          WHERE d.datname = current_database()",
    )
    .fetch_one(executor)
    .await
}
