//! Idle locks: who stores tasks notifies only where somebody sleeps (docs/adr/0010-idle-locks.md).
//!
//! PostgreSQL lets transactions that notify commit one after the other, so a notification that
//! nobody waits for costs more than the task itself. A worker that has nothing to do holds the
//! *idle lock* of each of its queues, an advisory lock. Whoever stores a ready task tries to take
//! that lock in shared mode until the end of its transaction. If that fails, somebody sleeps, and
//! the transaction notifies. If it succeeds, nobody sleeps, and nobody can fall asleep before the
//! transaction has ended; a worker that has got the lock looks for tasks once more.

use std::time::Duration;

use sqlx::PgExecutor;

/// The statement's part that wakes the workers of a queue at the commit, if one of them
/// sleeps. `$queue` is an SQL expression. `longhaul.wake` is the same for SQL.
macro_rules! wake {
    ($queue:literal) => {
        concat!(
            "CASE WHEN NOT pg_try_advisory_xact_lock_shared(1818782052, hashtext(",
            $queue,
            ")) THEN pg_notify('longhaul_ready', ",
            $queue,
            ")::text END"
        )
    };
}

pub(super) use wake;

/// How long [`fall_asleep`] waits for transactions that have stored tasks and are still open.
const PATIENCE: Duration = Duration::from_secs(1);

/// Takes the idle locks of these queues for this session, and waits for the open transactions
/// that have stored tasks there. Returns for each queue whether this session holds its lock now;
/// if not, another worker sleeps for it, or is about to. What this session holds already it must
/// not name again.
///
/// # Errors
/// If the database does not answer, or a transaction stays open for longer than a second
/// (`lock_not_available`). Then the session may hold some of them: call [`give_up`].
pub async fn fall_asleep(executor: impl PgExecutor<'_>, queues: &[String]) -> sqlx::Result<Vec<(String, bool)>> {
    // In the order of the locks, so that two workers never wait for each other.
    sqlx::query_as(
        "SELECT q.name, CASE WHEN q.patience IS NOT NULL AND pg_try_advisory_lock_shared(1818782052, q.lock)
                             THEN pg_advisory_unlock_shared(1818782052, q.lock)
                                  AND pg_advisory_lock(1818782052, q.lock) IS NOT NULL
                             ELSE false END
           FROM (SELECT u.name, hashtext(u.name) AS lock, set_config('lock_timeout', $2, true) AS patience
                   FROM unnest($1::text[]) AS u(name) ORDER BY 2 OFFSET 0) AS q",
    )
    .bind(queues)
    .bind(PATIENCE.as_millis().to_string())
    .fetch_all(executor)
    .await
}

/// Gives the idle locks of these queues back, and tells other workers that sleep for them: until
/// one of those has the lock, they are not notified.
///
/// # Errors
/// If the database does not answer.
pub async fn wake_up(executor: impl PgExecutor<'_>, queues: &[String]) -> sqlx::Result<()> {
    sqlx::query(
        "SELECT count(pg_advisory_unlock(1818782052, hashtext(u.name))), count(pg_notify('longhaul_idle', u.name)::text)
           FROM unnest($1::text[]) AS u(name)",
    )
    .bind(queues)
    .execute(executor)
    .await?;
    Ok(())
}

/// The same after [`fall_asleep`] has failed: gives back whatever the session has, and tells
/// those who sleep for these queues.
///
/// # Errors
/// If the database does not answer.
pub async fn give_up(executor: impl PgExecutor<'_>, queues: &[String]) -> sqlx::Result<()> {
    sqlx::query(
        "SELECT pg_advisory_unlock_all()::text, count(pg_notify('longhaul_idle', u.name)::text)
           FROM unnest($1::text[]) AS u(name)",
    )
    .bind(queues)
    .execute(executor)
    .await?;
    Ok(())
}
