//! Idle locks: who stores tasks notifies only where a worker is idle (docs/adr/0010-idle-locks.md).
//!
//! PostgreSQL lets transactions that notify commit one after the other, so a notification that
//! nobody waits for costs more than the task itself. A worker that has nothing to do holds the
//! *idle lock* of each of its queues, an advisory lock. Whoever stores a ready task tries to take
//! that lock in shared mode until the end of its transaction. If that fails, a worker is idle, and
//! the transaction notifies. If it succeeds, nobody sleeps, and nobody can fall asleep before the
//! transaction has ended; a worker that has got the lock looks for tasks once more.

use std::time::Duration;

use sqlx::PgExecutor;

/// The idle lock of a queue, an SQL expression.
macro_rules! idle_lock {
    ($queue:literal) => {
        concat!("hashtextextended('longhaul.idle:' || ", $queue, ", 0)")
    };
}

/// The statement's part that wakes the workers of a queue at the commit, if one of them
/// is idle. `$queue` is an SQL expression. `longhaul.wake` is the same for SQL.
macro_rules! wake {
    ($queue:literal) => {
        concat!(
            "CASE WHEN NOT pg_try_advisory_xact_lock_shared(",
            $crate::store::idle::idle_lock!($queue),
            ") THEN pg_notify('longhaul_ready', ",
            $queue,
            ")::text END"
        )
    };
}

pub(super) use {idle_lock, wake};

/// A transaction that stores into more queues than this notifies all of them, so that it does not
/// fill the server's table of locks.
pub(super) const QUEUES_AT_MOST: usize = 64;

/// How long [`acquire`] waits for transactions that have stored tasks and are still open.
const PATIENCE: Duration = Duration::from_secs(1);

/// Takes the idle locks of these queues for this session, and waits for the open transactions
/// that have stored tasks there; if it had to wait, it notifies the queue, since other workers
/// may have relied on that. Returns for each queue whether this session holds its lock now; if
/// not, another worker is idle for it, or about to be. What this session holds already it must not
/// name again.
///
/// # Errors
/// If the database does not answer, or transactions stay open for longer than a second
/// ([`waited_for_lock`](super::failure::waited_for_lock)). Then the session may hold some of them:
/// call [`release_all`].
pub async fn acquire(executor: impl PgExecutor<'_>, queues: &[String]) -> sqlx::Result<Vec<(String, bool)>> {
    // In the order of the locks, so that two workers never wait for each other; all of them
    // together wait no longer than PATIENCE.
    sqlx::query_as(concat!(
        "SELECT q.name, CASE WHEN set_config('lock_timeout', greatest(1, $2::int - (1000 * extract(epoch FROM clock_timestamp()
                                             - statement_timestamp()))::int)::text, true) IS NULL THEN NULL
                             WHEN pg_try_advisory_lock(q.lock) THEN true
                             WHEN pg_try_advisory_lock_shared(q.lock)
                             THEN pg_advisory_unlock_shared(q.lock) AND pg_advisory_lock(q.lock) IS NOT NULL
                                  AND pg_notify('longhaul_ready', q.name) IS NOT NULL
                             ELSE false END
           FROM (SELECT u.name, ",
        idle_lock!("u.name"),
        " AS lock FROM unnest($1::text[]) AS u(name) ORDER BY 2 OFFSET 0) AS q"
    ))
    .bind(queues)
    .bind(i32::try_from(PATIENCE.as_millis()).unwrap_or(i32::MAX))
    .fetch_all(executor)
    .await
}

/// Gives the idle locks of these queues back, and tells other workers that are idle for them: until
/// one of those has the lock, they are not notified. Returns whether the session had all of them;
/// if not, it is not the session that took them, since a pooler hands out others.
///
/// # Errors
/// If the database does not answer.
pub async fn release(executor: impl PgExecutor<'_>, queues: &[String]) -> sqlx::Result<bool> {
    // What the commit writes need not be durable.
    sqlx::query_scalar(concat!(
        "SELECT coalesce(bool_and(w.held AND w.told), true)
           FROM (SELECT set_config('synchronous_commit', 'off', true) IS NOT NULL AND pg_advisory_unlock(",
        idle_lock!("u.name"),
        ") AS held, pg_notify('longhaul_idle', u.name) IS NOT NULL AS told
                   FROM unnest($1::text[]) AS u(name) OFFSET 0) AS w"
    ))
    .bind(queues)
    .fetch_one(executor)
    .await
}

/// Gives back whatever the session has, and tells those that are idle for these queues.
///
/// # Errors
/// If the database does not answer.
pub async fn release_all(executor: impl PgExecutor<'_>, queues: &[String]) -> sqlx::Result<()> {
    sqlx::query(
        "SELECT pg_advisory_unlock_all()::text, set_config('synchronous_commit', 'off', true),
                (SELECT count(pg_notify('longhaul_idle', u.name)::text) FROM unnest($1::text[]) AS u(name))",
    )
    .bind(queues)
    .execute(executor)
    .await?;
    Ok(())
}
