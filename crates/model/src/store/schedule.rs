//! Making due tasks ready.

use sqlx::PgExecutor;

/// At most this many in one statement.
pub const AT_ONCE: i64 = 5_000;

/// The time stands in a subquery: a volatile function can't bound an index scan,
/// which would walk over the whole future.
const PROMOTE: &str = "
    WITH due AS (
        DELETE FROM longhaul.scheduled
         WHERE ctid = ANY (ARRAY(SELECT ctid FROM longhaul.scheduled
                                  WHERE run_at <= (SELECT clock_timestamp())
                                  ORDER BY run_at, id LIMIT $1
                                    FOR UPDATE SKIP LOCKED))
        RETURNING id
    ), queued AS (
        UPDATE longhaul.task SET state = CASE state WHEN 'Scheduled' THEN 'Queued' ELSE state END
         WHERE id = ANY (ARRAY(SELECT id FROM due)) AND state IN ('Scheduled', 'Retrying')
        RETURNING queue, priority, id
    ), ready AS (
        INSERT INTO longhaul.ready (queue, priority, id)
        SELECT queue, priority, id FROM queued
        RETURNING queue
    ), woken AS (
        SELECT pg_notify('longhaul_ready', queue) FROM (SELECT DISTINCT queue FROM ready) AS waiting
    )
    SELECT (SELECT count(*) FROM ready), (SELECT count(*) FROM woken),
           (SELECT extract(epoch FROM min(run_at) - clock_timestamp())::float8
              FROM longhaul.scheduled WHERE run_at > (SELECT clock_timestamp()))";

/// Moves what is due from `scheduled` to `ready`; safe from any number of
/// processes at once. Returns how many were moved, and in how many seconds the
/// next one is due, if any.
///
/// # Errors
/// When the database does not answer; nothing has changed then.
pub async fn promote(executor: impl PgExecutor<'_>) -> sqlx::Result<(i64, Option<f64>)> {
    let (moved, _, next): (i64, i64, Option<f64>) = sqlx::query_as(PROMOTE).bind(AT_ONCE).fetch_one(executor).await?;
    Ok((moved, next))
}
