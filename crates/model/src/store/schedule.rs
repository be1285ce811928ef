//! Making due tasks ready.

use sqlx::PgExecutor;
use uuid::Uuid;

/// At most this many in one statement.
pub const AT_ONCE: i64 = 5_000;

/// The time stands in a subquery: a volatile function can't bound an index scan,
/// which would walk over the whole future. Without ids `$2`: what is not set aside.
///
/// A row goes only together with a task that is queued for it, is over or gone, or is in
/// another place. So a task whose row in `task` is locked stays for the next run, and one
/// that a fault left open here, neither scheduled nor to be retried, is queued all the same.
const PROMOTE: &str = "
    WITH due AS MATERIALIZED (
        SELECT ctid AS row, id FROM longhaul.scheduled
         WHERE run_at <= (SELECT clock_timestamp())
           AND CASE WHEN $2::uuid[] IS NOT NULL THEN id = ANY ($2)
                    ELSE id <> ALL (ARRAY(SELECT longhaul.aside('promoter'))) END
         ORDER BY run_at, id LIMIT $1
           FOR UPDATE SKIP LOCKED
    ), known AS MATERIALIZED (
        SELECT t.id, t.state, t.state IN ('Queued', 'Running') AS odd FROM longhaul.task t
         WHERE t.id = ANY (ARRAY(SELECT id FROM due))
           FOR NO KEY UPDATE SKIP LOCKED
    ), only_here AS MATERIALIZED (
        SELECT p.id FROM longhaul.places(ARRAY(SELECT id FROM known WHERE odd)) AS p
         WHERE EXISTS (SELECT FROM known WHERE odd) AND p.places = '{scheduled}'
    ), queued AS (
        UPDATE longhaul.task SET state = CASE state WHEN 'Retrying' THEN state ELSE 'Queued' END
         WHERE id = ANY (ARRAY(SELECT id FROM known WHERE state IN ('Scheduled', 'Retrying')
                               UNION ALL SELECT id FROM only_here))
        RETURNING queue, priority, id
    ), gone AS (
        DELETE FROM longhaul.scheduled
         WHERE ctid = ANY (ARRAY(SELECT row FROM due
                                  WHERE id IN (SELECT id FROM known)
                                     OR NOT EXISTS (SELECT FROM longhaul.task t WHERE t.id = due.id)))
    ), ready AS (
        SELECT longhaul.make_ready(array_agg(id), array_agg(queue), array_agg(priority)) FROM queued HAVING count(*) > 0
    )
    SELECT (SELECT count(*) FROM queued), (SELECT count(*) FROM ready),
           (SELECT extract(epoch FROM min(run_at) - clock_timestamp())::float8
              FROM longhaul.scheduled WHERE run_at > (SELECT clock_timestamp()))";

/// Moves what is due from `scheduled` to `ready`; safe from any number of
/// processes at once. Returns how many were moved, and in how many seconds the
/// next one is due, if any.
///
/// # Errors
/// If the database does not answer. Then nothing has changed.
pub async fn promote(executor: impl PgExecutor<'_>) -> sqlx::Result<(i64, Option<f64>)> {
    let (moved, _, next): (i64, i64, Option<f64>) =
        sqlx::query_as(PROMOTE).bind(AT_ONCE).bind(None::<&[Uuid]>).fetch_one(executor).await?;
    Ok((moved, next))
}

/// The tasks that [`promote`] would move now.
///
/// # Errors
/// If the database does not answer.
pub async fn due(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "SELECT s.id FROM longhaul.scheduled s
          WHERE s.run_at <= (SELECT clock_timestamp())
            AND s.id <> ALL (ARRAY(SELECT longhaul.aside('promoter')))
          ORDER BY s.run_at, s.id LIMIT $1",
    )
    .bind(AT_ONCE)
    .fetch_all(executor)
    .await
}

/// Moves those of these tasks that are due.
///
/// # Errors
/// As [`promote`].
pub async fn promote_these(executor: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query(PROMOTE).bind(AT_ONCE).bind(Some(ids)).execute(executor).await?;
    Ok(())
}
