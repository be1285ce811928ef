//! The overview: the current state of the queues, and the last hour.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgExecutor, PgPool};

use super::gate::runnable_from;
use super::stored::StoredTime;
use crate::clock::id_floor;

/// The current state.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// Every queue that a task type, a worker or a setting names, or that has open tasks, by name.
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
    /// Ready tasks.
    pub ready: i64,
    /// Held tasks.
    pub held: i64,
    /// Scheduled tasks.
    pub scheduled: i64,
    /// Running tasks, without those that a worker has claimed ahead of its free slots.
    pub running: i64,
    /// For how many seconds the oldest task that could run has waited.
    pub oldest_waiting: Option<f64>,
    /// Live workers that serve it.
    pub workers: i64,
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
    #[sqlx(try_from = "StoredTime")]
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
const QUEUES: &str = concat!(
    "
    WITH later AS MATERIALIZED (
        SELECT t.queue, count(*) AS tasks
          FROM longhaul.task t
         WHERE t.id = ANY (ARRAY(SELECT p.id FROM longhaul.scheduled p ORDER BY p.run_at, p.id LIMIT $1))
         GROUP BY t.queue
    ), at_work AS MATERIALIZED (
        SELECT a.queue, sum(a.tasks)::bigint AS tasks FROM longhaul.at_work a GROUP BY a.queue
    ), queue AS (
        SELECT n.queue AS name FROM longhaul.queue_names n UNION SELECT l.queue FROM later l
    ), served AS MATERIALIZED (
        SELECT s.queue, count(*) AS workers
          FROM longhaul.workers w CROSS JOIN unnest(w.queues) AS s(queue) WHERE w.state = 'alive' GROUP BY s.queue
    )
    SELECT q.name, coalesce(s.paused_at IS NOT NULL, false) AS paused,
           (SELECT count(*) FROM (SELECT FROM longhaul.ready r
                                   WHERE r.queue = q.name AND r.priority >= q.runnable_from LIMIT $1) x) AS ready,
           (SELECT count(*) FROM (SELECT FROM longhaul.held h WHERE h.queue = q.name
                                  UNION ALL
                                  SELECT FROM longhaul.ready r
                                   WHERE r.queue = q.name AND r.priority < q.runnable_from LIMIT $1) x) AS held,
           coalesce(later.tasks, 0) AS scheduled, coalesce(at_work.tasks, 0) AS running,
           (SELECT extract(epoch FROM now() - min(t.accepted_at) FILTER (WHERE isfinite(t.accepted_at)))::float8
              FROM longhaul.task t
             WHERE t.id = ANY (ARRAY(SELECT first.id FROM generate_series(q.runnable_from, 19) AS p(priority)
                                      CROSS JOIN LATERAL (SELECT coalesce(r.task_id, r.id) AS id FROM longhaul.ready r
                                                           WHERE r.queue = q.name AND r.priority = p.priority
                                                           ORDER BY r.id LIMIT 1) first))) AS oldest_waiting,
           coalesce(served.workers, 0) AS workers
      FROM (SELECT name, ",
    runnable_from!("queue.name"),
    " AS runnable_from FROM queue) q
      LEFT JOIN longhaul.queue s USING (name)
      LEFT JOIN later ON later.queue = q.name
      LEFT JOIN at_work ON at_work.queue = q.name
      LEFT JOIN served ON served.queue = q.name
     ORDER BY q.name"
);

/// The current state. Of very many waiting tasks of a queue, [`COUNTED`] are counted.
///
/// # Errors
/// If the database does not answer.
pub async fn overview(pool: &PgPool) -> sqlx::Result<Overview> {
    let queues = glances(pool, COUNTED);
    let workers = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE state = 'alive') AS alive, count(*) FILTER (WHERE state = 'silent') AS silent,
                coalesce(sum(slots) FILTER (WHERE state = 'alive'), 0)::bigint AS slots
           FROM longhaul.workers",
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

/// A sum of counts of the past, which stops at 2^53.
macro_rules! summed {
    ($counts:literal) => {
        concat!("least(sum(greatest(", $counts, ", 0)), 9007199254740992)::bigint")
    };
}

/// The last 60 minutes, oldest first; the last one is not over.
///
/// # Errors
/// If the database does not answer.
pub async fn last_hour(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<Minute>> {
    sqlx::query_as(concat!(
        "SELECT m.at, coalesce(p.succeeded, 0) AS succeeded, coalesce(p.failed, 0) AS failed,
                coalesce(p.cancelled, 0) AS cancelled, coalesce(p.retried, 0) AS retried,
                s.accepted, s.waiting, s.running, s.oldest_waiting
           FROM generate_series(date_trunc('minute', now()) - interval '59 minutes', date_trunc('minute', now()),
                                interval '1 minute') AS m(at)
           LEFT JOIN (SELECT at, ",
        summed!("succeeded"),
        " AS succeeded, ",
        summed!("failed"),
        " AS failed, ",
        summed!("cancelled"),
        " AS cancelled, ",
        summed!("retried"),
        " AS retried
                        FROM longhaul.pulse WHERE at >= date_trunc('minute', now()) - interval '59 minutes' GROUP BY at) p
                  ON p.at = m.at
           LEFT JOIN (SELECT at, ",
        summed!("accepted"),
        " AS accepted, ",
        summed!("ready::numeric + held"),
        " AS waiting, ",
        summed!("running"),
        " AS running, max(oldest_s) AS oldest_waiting
                        FROM longhaul.sample WHERE at >= date_trunc('minute', now()) - interval '59 minutes' GROUP BY at) s
                  ON s.at = m.at
          ORDER BY m.at",
    ))
    .fetch_all(executor)
    .await
}

/// Adds what a worker has ended to its row of this minute.
///
/// # Errors
/// If the database does not answer; nothing is added then.
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
/// If the database does not answer.
pub async fn sample(pool: &PgPool, now_ms: i64) -> sqlx::Result<()> {
    let aside: Vec<String> =
        sqlx::query_scalar("SELECT id FROM longhaul.set_aside WHERE service = 'pulse'").fetch_all(pool).await?;
    sample_if(pool, now_ms, |queue| !aside.iter().any(|name| name == queue)).await
}

/// The queues that [`sample`] writes down.
///
/// # Errors
/// If the database does not answer.
pub async fn to_sample(pool: &PgPool) -> sqlx::Result<Vec<String>> {
    Ok(glances(pool, 1).await?.into_iter().map(|queue| queue.name).collect())
}

/// Writes down the same of these queues.
///
/// # Errors
/// As [`sample`].
pub async fn sample_these(pool: &PgPool, now_ms: i64, names: &[String]) -> sqlx::Result<()> {
    sample_if(pool, now_ms, |queue| names.iter().any(|name| name == queue)).await
}

async fn sample_if(pool: &PgPool, now_ms: i64, wanted: impl Fn(&str) -> bool) -> sqlx::Result<()> {
    let minute = (now_ms / 60_000 - 1) * 60_000;
    let at = DateTime::from_timestamp_millis(minute).unwrap_or_default();
    let mut queues = glances(pool, SAMPLED).await?;
    queues.retain(|queue| wanted(&queue.name));
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
