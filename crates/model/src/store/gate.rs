//! Gates: which tasks of paused and limited queues may run (docs/adr/0004-gates.md).
//!
//! Everybody stores tasks into `ready` alike. A task of a gated queue may run once it was
//! admitted: it then stands in `ready` with its priority + [`ADMITTED`], under an id of that
//! moment, and in `admitted`, which it leaves when its attempt ends.

use sqlx::{FromRow, PgExecutor};
use uuid::Uuid;

/// What is added to a task's priority (0 to 9) in `ready` when it is admitted.
pub const ADMITTED: i16 = 10;

/// The least priority in `ready` with which a task of queue `$queue`, an SQL expression, may
/// run. What stands below is held.
macro_rules! runnable_from {
    ($queue:literal) => {
        concat!(
            "CASE WHEN EXISTS (SELECT FROM longhaul.queue gate WHERE gate.name = ",
            $queue,
            " AND gate.gated) THEN 10 ELSE 0 END"
        )
    };
}

pub(super) use runnable_from;

/// A queue that is gated, or was and left something behind.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct GatedQueue {
    /// Its name.
    pub name: String,
    /// Its tasks have to be admitted.
    pub gated: bool,
    /// There may be something to do: [`keep`] is to be called.
    pub due: bool,
}

const LIST: &str = "
    WITH RECURSIVE holding AS (
        (SELECT queue FROM longhaul.held ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (SELECT h.queue FROM longhaul.held h WHERE h.queue > n.queue ORDER BY h.queue LIMIT 1)
          FROM holding n WHERE n.queue IS NOT NULL
    ), known AS (
        SELECT name FROM longhaul.queue
        UNION SELECT queue FROM longhaul.gate
        UNION SELECT queue FROM holding WHERE queue IS NOT NULL
    )
    SELECT k.name, coalesce(q.gated, false) AS gated,
           CASE WHEN q.gated
                THEN g.queue IS NULL OR g.revision <> q.revision OR g.counted_at IS NULL
                     OR (g.counted_at < now() - interval '60 seconds'
                         AND EXISTS (SELECT FROM longhaul.admitted a WHERE a.queue = k.name))
                     OR CASE WHEN q.paused_at IS NULL
                             THEN EXISTS (SELECT FROM longhaul.ready r WHERE r.queue = k.name AND r.priority < 10)
                                  OR EXISTS (SELECT FROM longhaul.held h WHERE h.queue = k.name)
                             ELSE EXISTS (SELECT FROM longhaul.ready r WHERE r.queue = k.name AND r.priority >= 10) END
                ELSE g.queue IS NOT NULL
                     OR EXISTS (SELECT FROM longhaul.admitted a WHERE a.queue = k.name)
                     OR EXISTS (SELECT FROM longhaul.ready r WHERE r.queue = k.name AND r.priority >= 10)
                     OR (EXISTS (SELECT FROM longhaul.held h WHERE h.queue = k.name)
                         AND ($1 OR NOT EXISTS (SELECT FROM longhaul.task_type WHERE paused_at IS NOT NULL))) END AS due
      FROM known k
      LEFT JOIN longhaul.queue q ON q.name = k.name
      LEFT JOIN longhaul.gate g ON g.queue = k.name
     ORDER BY k.name";

/// Every queue that is gated or has something to be put back, by name. `look_back`: see
/// [`keep`].
///
/// # Errors
/// If the database does not answer.
pub async fn list(executor: impl PgExecutor<'_>, look_back: bool) -> sqlx::Result<Vec<GatedQueue>> {
    let known: Vec<GatedQueue> = sqlx::query_as(LIST).bind(look_back).fetch_all(executor).await?;
    Ok(known.into_iter().filter(|queue| queue.gated || queue.due).collect())
}

/// Whether a task type is paused.
///
/// # Errors
/// If the database does not answer.
pub async fn types_are_paused(executor: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM longhaul.task_type WHERE paused_at IS NOT NULL)")
        .fetch_one(executor)
        .await
}

/// What [`keep`] did, and when it is to be called again.
#[derive(Debug, Clone, Copy, PartialEq, FromRow)]
pub struct Kept {
    /// The queue is gated. If not, all that the gate had held back is free.
    pub gated: bool,
    /// Tasks that were admitted.
    pub admitted: i32,
    /// Tasks that arrive make no difference until a place is free.
    pub full: bool,
    /// There is more to do now.
    pub more: bool,
    /// Seconds until time makes room, if it will.
    pub next_in: Option<f64>,
}

/// Looks after the gate of one queue (`longhaul.keep_gate`): admits what may run, takes back
/// what was admitted and may not run any more, counts what runs. Safe to call from any number
/// of processes at once: `None` if another is at it, or if the queue is set aside, unless it is
/// to be tried `again` all the same. Passes over tasks that are set aside. Does a bounded amount of work, and waits for no other
/// transaction. `look_back`: also looks through all held tasks for those that need not be held
/// any more, though some type is paused.
///
/// # Errors
/// If the database does not answer. Then nothing has changed.
pub async fn keep(
    executor: impl PgExecutor<'_>,
    queue: &str,
    look_back: bool,
    again: bool,
) -> sqlx::Result<Option<Kept>> {
    // Admission need not be durable: what a crash undoes waits as before, and an end that
    // follows from it makes it durable.
    sqlx::query_as(
        "SELECT k.gated, k.admitted, k.full, k.more, k.next_in
           FROM (SELECT WHERE $3 OR NOT EXISTS (SELECT FROM longhaul.set_aside a
                                                 WHERE a.service = 'gatekeeper' AND a.id = $1)) AS may
          CROSS JOIN LATERAL
                longhaul.keep_gate($1, set_config('synchronous_commit', 'off', true) IS NOT NULL AND $2) AS k
          WHERE k.mine",
    )
    .bind(queue)
    .bind(look_back)
    .bind(again)
    .fetch_optional(executor)
    .await
}

/// Tasks of a queue that [`keep`] may be about to move: the first that wait, at most 20,000 of
/// each place, and what was admitted.
///
/// # Errors
/// If the database does not answer.
pub async fn front(executor: impl PgExecutor<'_>, queue: &str) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "(SELECT coalesce(r.task_id, r.id) FROM longhaul.ready r WHERE r.queue = $1 AND r.priority >= 10
           ORDER BY r.priority, r.id LIMIT 20000)
         UNION (SELECT coalesce(r.task_id, r.id) FROM longhaul.ready r WHERE r.queue = $1 AND r.priority < 10
                 ORDER BY r.priority, r.id LIMIT 20000)
         UNION (SELECT h.id FROM longhaul.held h WHERE h.queue = $1 ORDER BY h.key, h.priority, h.id LIMIT 20000)",
    )
    .bind(queue)
    .fetch_all(executor)
    .await
}

/// Tries whether the database lets these tasks be moved as [`keep`] would, and undoes it
/// (`longhaul.try_moves`).
///
/// # Errors
/// If the database does not answer, or refuses to move one of them.
pub async fn try_moves(executor: impl PgExecutor<'_>, tasks: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query("SELECT longhaul.try_moves($1)").bind(tasks).execute(executor).await?;
    Ok(())
}
