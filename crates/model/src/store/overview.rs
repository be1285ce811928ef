//! The queue at a glance: how it stands now, and what the last hour was like.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgExecutor, PgPool};

use crate::clock::id_floor;

/// How things stand now.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// Every queue, by name.
    pub queues: Vec<Glance>,
    /// Workers.
    pub workers: Workers,
}

/// A queue at a glance.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Glance {
    /// Its name.
    pub name: String,
    /// Whether it is paused.
    pub paused: bool,
    /// Tasks that may run now.
    pub ready: i64,
    /// Tasks that the gate holds.
    pub held: i64,
    /// Tasks whose time has not come.
    pub scheduled: i64,
    /// Tasks at work.
    pub running: i64,
    /// For how many seconds the oldest task that could run has waited.
    pub oldest_waiting: Option<f64>,
}

/// Workers, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Workers {
    /// Workers whose heartbeat is on time.
    pub alive: i64,
    /// Workers whose heartbeat is late, and who are not presumed dead yet.
    pub silent: i64,
    /// How many tasks those that are alive can run at once.
    pub slots: i64,
}

/// A minute of the past, or the one that is not over.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Minute {
    /// Its beginning.
    pub at: DateTime<Utc>,
    /// Tasks that attempts ended well in it.
    pub succeeded: i64,
    /// Tasks that attempts ended with an error in it.
    pub failed: i64,
    /// Tasks that workers ended as cancelled in it.
    pub cancelled: i64,
    /// Attempts that failed in it and are tried again.
    pub retried: i64,
    /// Tasks that were accepted in it; `None` until it was counted.
    pub accepted: Option<i64>,
    /// Tasks that waited at its end.
    pub waiting: Option<i64>,
    /// Tasks at work at its end.
    pub running: Option<i64>,
    /// For how many seconds the oldest had waited at its end.
    pub oldest_waiting: Option<f64>,
}

/// What one process ended since it last said so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// See [`Minute`].
    pub succeeded: i64,
    /// See [`Minute`].
    pub failed: i64,
    /// See [`Minute`].
    pub cancelled: i64,
    /// See [`Minute`].
    pub retried: i64,
}

/// Counts of waiting tasks stop here for people, so that a million of them does not
/// make the page slow …
pub const COUNTED: i64 = 20_000;
/// … and here for the sample of the minute.
const SAMPLED: i64 = 1_000_000;

/// Tasks are looked up by arrays of ids, so by the key, however large the table is.
const QUEUES: &str = "
    WITH queue AS (
        SELECT y.queue AS name FROM longhaul.task_type y
        UNION SELECT unnest(w.queues) FROM longhaul.worker w WHERE w.stopped_at IS NULL AND w.lost_at IS NULL
        UNION SELECT s.name FROM longhaul.queue s
    ), later AS (
        SELECT t.queue, count(*) AS tasks
          FROM longhaul.task t
         WHERE t.id = ANY (ARRAY(SELECT p.id FROM longhaul.scheduled p ORDER BY p.run_at, p.id LIMIT $1))
         GROUP BY t.queue
    ), at_work AS (
        SELECT t.queue, count(*) AS tasks
          FROM longhaul.task t
         WHERE t.id = ANY (ARRAY(SELECT unnest(l.task_ids) FROM longhaul.lease l))
           AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled') GROUP BY t.queue
    )
    SELECT q.name, coalesce(s.paused_at IS NOT NULL, false) AS paused,
           (SELECT count(*) FROM (SELECT FROM longhaul.ready r WHERE r.queue = q.name LIMIT $1) x) AS ready,
           (SELECT count(*) FROM (SELECT FROM longhaul.held h WHERE h.queue = q.name LIMIT $1) x) AS held,
           coalesce(later.tasks, 0) AS scheduled, coalesce(at_work.tasks, 0) AS running,
           (SELECT extract(epoch FROM now() - min(t.accepted_at))::float8
              FROM longhaul.task t
             WHERE t.id = ANY (ARRAY(SELECT first.id FROM generate_series(0, 9) AS p(priority)
                                      CROSS JOIN LATERAL (SELECT coalesce(r.task_id, r.id) AS id FROM longhaul.ready r
                                                           WHERE r.queue = q.name AND r.priority = p.priority
                                                           ORDER BY r.id LIMIT 1) first))) AS oldest_waiting
      FROM queue q
      LEFT JOIN longhaul.queue s USING (name)
      LEFT JOIN later ON later.queue = q.name
      LEFT JOIN at_work ON at_work.queue = q.name
     ORDER BY q.name";

/// How things stand now. Of very many waiting tasks of a queue, [`COUNTED`] are counted.
///
/// # Errors
/// When the database does not answer.
pub async fn overview(pool: &PgPool) -> sqlx::Result<Overview> {
    let queues = glances(pool, COUNTED);
    let workers = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE on_time) AS alive, count(*) FILTER (WHERE NOT on_time) AS silent,
                coalesce(sum(slots) FILTER (WHERE on_time), 0)::bigint AS slots
           FROM (SELECT slots, heartbeat_at >= now() - heartbeat_ms * interval '1.7 ms' AS on_time
                   FROM longhaul.worker WHERE stopped_at IS NULL AND lost_at IS NULL) w",
    )
    .fetch_one(pool);
    let (queues, workers) = tokio::try_join!(queues, workers)?;
    Ok(Overview { queues, workers })
}

/// The planner takes the table's size for a reason to compile the statement, which
/// costs a tenth of a second each time and saves nothing.
async fn glances(pool: &PgPool, counted: i64) -> sqlx::Result<Vec<Glance>> {
    let mut transaction = pool.begin().await?;
    sqlx::query("SET LOCAL jit = off").execute(&mut *transaction).await?;
    let queues = sqlx::query_as(QUEUES).bind(counted).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(queues)
}

/// The last 60 minutes, oldest first; the last one is not over.
///
/// # Errors
/// When the database does not answer.
pub async fn last_hour(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<Minute>> {
    sqlx::query_as(
        "SELECT m.at, coalesce(p.succeeded, 0) AS succeeded, coalesce(p.failed, 0) AS failed,
                coalesce(p.cancelled, 0) AS cancelled, coalesce(p.retried, 0) AS retried,
                s.accepted, s.waiting, s.running, s.oldest_waiting
           FROM generate_series(date_trunc('minute', now()) - interval '59 minutes', date_trunc('minute', now()),
                                interval '1 minute') AS m(at)
           LEFT JOIN (SELECT at, sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed,
                             sum(cancelled)::bigint AS cancelled, sum(retried)::bigint AS retried
                        FROM longhaul.pulse WHERE at >= date_trunc('minute', now()) - interval '59 minutes' GROUP BY at) p
                  ON p.at = m.at
           LEFT JOIN (SELECT at, sum(accepted)::bigint AS accepted, sum(ready + held)::bigint AS waiting,
                             sum(running)::bigint AS running, max(oldest_s) AS oldest_waiting
                        FROM longhaul.sample WHERE at >= date_trunc('minute', now()) - interval '59 minutes' GROUP BY at) s
                  ON s.at = m.at
          ORDER BY m.at",
    )
    .fetch_all(executor)
    .await
}

/// Adds what a worker has ended to its row of this minute.
///
/// # Errors
/// When the database does not answer; nothing is added then.
pub async fn add(executor: impl PgExecutor<'_>, worker_id: i32, ended: Ended) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO longhaul.pulse AS p (at, worker_id, succeeded, failed, cancelled, retried)
         SELECT date_trunc('minute', now()), $1, $2, $3, $4, $5
          WHERE set_config('synchronous_commit', 'off', true) IS NOT NULL
         ON CONFLICT (at, worker_id) DO UPDATE
            SET succeeded = p.succeeded + excluded.succeeded, failed = p.failed + excluded.failed,
                cancelled = p.cancelled + excluded.cancelled, retried = p.retried + excluded.retried",
    )
    .bind(worker_id)
    .bind(ended.succeeded)
    .bind(ended.failed)
    .bind(ended.cancelled)
    .bind(ended.retried)
    .execute(executor)
    .await?;
    Ok(())
}

/// Writes down the last whole minute before `now_ms`, the database's time, unless that
/// was done, and forgets what is older than a day. Tasks accepted in it are counted by
/// their ids, which carry the time: the primary key has them together.
///
/// # Errors
/// When the database does not answer.
pub async fn sample(pool: &PgPool, now_ms: i64) -> sqlx::Result<()> {
    let minute = (now_ms / 60_000 - 1) * 60_000;
    let at = DateTime::from_timestamp_millis(minute).unwrap_or_default();
    let queues = glances(pool, SAMPLED).await?;
    fn column<T>(queues: &[Glance], pick: impl Fn(&Glance) -> T) -> Vec<T> {
        queues.iter().map(pick).collect()
    }
    sqlx::query(
        "WITH accepted AS (
             SELECT queue, count(*) AS tasks FROM longhaul.task WHERE id >= $2 AND id < $3 GROUP BY queue
         ), forgotten AS (
             DELETE FROM longhaul.sample WHERE at < $1::timestamptz - interval '1 day'
         ), counts AS (
             DELETE FROM longhaul.pulse WHERE at < $1::timestamptz - interval '1 day'
         )
         INSERT INTO longhaul.sample (at, queue, accepted, ready, held, scheduled, running, oldest_s)
         SELECT $1, q.queue, coalesce(a.tasks, 0), coalesce(q.ready, 0), coalesce(q.held, 0), coalesce(q.scheduled, 0),
                coalesce(q.running, 0), q.oldest_s
           FROM unnest($4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::float8[])
                AS q(queue, ready, held, scheduled, running, oldest_s)
           LEFT JOIN accepted a USING (queue)
         ON CONFLICT DO NOTHING",
    )
    .bind(at)
    .bind(id_floor(minute))
    .bind(id_floor(minute + 60_000))
    .bind(column(&queues, |queue| queue.name.clone()))
    .bind(column(&queues, |queue| queue.ready))
    .bind(column(&queues, |queue| queue.held))
    .bind(column(&queues, |queue| queue.scheduled))
    .bind(column(&queues, |queue| queue.running))
    .bind(column(&queues, |queue| queue.oldest_waiting))
    .execute(pool)
    .await?;
    Ok(())
}
