//! Putting back what dead workers held, task by task: if the database refuses one of them,
//! the others of its lease go back all the same ([`super::aside`]).

use sqlx::PgPool;
use uuid::Uuid;

use super::rescue::put_back;

/// Tasks in one batch.
const AT_ONCE: i64 = 2_000;

/// A lease of a worker that is at work.
macro_rules! worker_is_at_work {
    () => {
        "EXISTS (SELECT FROM longhaul.worker w WHERE w.id = l.worker_id AND w.lost_at IS NULL AND w.stopped_at IS NULL)"
    };
}

/// Tasks that dead workers hold and that are not set aside.
///
/// # Errors
/// If the database does not answer.
pub async fn choose(pool: &PgPool) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(concat!(
        "SELECT DISTINCT u.id FROM longhaul.lease l CROSS JOIN unnest(l.task_ids) AS u(id)
          WHERE NOT ",
        worker_is_at_work!(),
        " AND u.id <> ALL (ARRAY(SELECT longhaul.aside('rescuer')))
          LIMIT $1"
    ))
    .bind(AT_ONCE)
    .fetch_all(pool)
    .await
}

/// Puts back those of these tasks that dead workers hold, and strikes them from their
/// leases; the lease first, as everywhere.
///
/// # Errors
/// If the database does not answer, or refuses one of them; nothing has changed then.
pub async fn put_back_these(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<()> {
    let mut transaction = pool.begin().await?;
    let held: Vec<Uuid> = sqlx::query_scalar(concat!(
        "WITH held AS MATERIALIZED (
             SELECT l.worker_id, l.number, l.task_ids FROM longhaul.lease l
              WHERE l.task_ids && $1 AND NOT ",
        worker_is_at_work!(),
        "     ORDER BY l.worker_id, l.number FOR UPDATE SKIP LOCKED
         ), struck AS (
             UPDATE longhaul.lease l
                SET shortened = true, task_ids = ARRAY(SELECT u.id FROM unnest(l.task_ids) AS u(id) WHERE u.id <> ALL ($1))
               FROM held h WHERE l.worker_id = h.worker_id AND l.number = h.number
         )
         SELECT DISTINCT u.id FROM held h CROSS JOIN unnest(h.task_ids) AS u(id) WHERE u.id = ANY ($1)"
    ))
    .bind(ids)
    .fetch_all(&mut *transaction)
    .await?;
    sqlx::query(concat!("DELETE FROM longhaul.lease l WHERE l.task_ids = '{}' AND NOT ", worker_is_at_work!()))
        .execute(&mut *transaction)
        .await?;
    put_back(&mut transaction, &held, true).await?;
    transaction.commit().await
}
