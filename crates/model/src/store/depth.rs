//! How much waits where: for telemetry, cheap however much it is.

use std::collections::HashMap;

use sqlx::{FromRow, PgConnection, PgPool};

use super::diagnose::stuck_leases;
use super::gate::runnable_from;

/// What waits in one queue, and what runs.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct QueueDepth {
    /// Its name.
    pub queue: String,
    /// Ready tasks.
    pub ready: i64,
    /// Tasks that a limit or a pause holds back, or that were not admitted yet.
    pub held: i64,
    /// Tasks that wait for their time.
    pub scheduled: i64,
    /// Tasks at work, or claimed and about to be.
    pub running: i64,
    /// For how long the oldest ready task could have run, in seconds.
    pub oldest_seconds: Option<f64>,
    /// None of its tasks begins.
    pub paused: bool,
    /// Tasks may run now, and no worker that is alive serves it.
    pub unserved: bool,
}

/// Every queue that a task type, a setting or a living worker names, or that has open tasks,
/// and the fleet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Depth {
    /// By name.
    pub queues: Vec<QueueDepth>,
    /// Workers that beat in time.
    pub workers_alive: i64,
    /// Workers that neither left nor beat in time.
    pub workers_silent: i64,
    /// Their slots.
    pub slots: i64,
    /// For how long the first task whose time has come has waited to be made ready.
    pub overdue_seconds: f64,
    /// Tasks in leases of dead workers that no worker has rescued.
    pub abandoned: i64,
    /// Parts of live workers that fail repeatedly.
    pub troubles: i64,
}

/// Up to here numbers are exact; beyond, they are estimated from `SAMPLED_PAGES`
/// of the table. Counting so many takes some 10 ms.
pub const COUNTED_AT_MOST: i64 = 50_000;
/// The same for numbers that need a look at the task's row.
pub const JOINED_AT_MOST: i64 = 5_000;
const SAMPLED_PAGES: f64 = 400.0;

const COUNTED: &str = concat!("
    WITH named AS MATERIALIZED (
        SELECT queue FROM longhaul.queue_names
    ), later AS MATERIALIZED (
        SELECT t.queue, count(*) AS tasks
          FROM (SELECT id FROM longhaul.scheduled ORDER BY run_at, id LIMIT $2) s JOIN longhaul.task t USING (id)
         GROUP BY t.queue
    ), running AS MATERIALIZED (
        SELECT t.queue, count(*) AS tasks
          FROM (SELECT unnest(task_ids) AS id FROM longhaul.lease LIMIT $2) l JOIN longhaul.task t USING (id)
         WHERE t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')
         GROUP BY t.queue
    )
    SELECT n.queue,
           (SELECT count(*) FROM (SELECT FROM longhaul.ready r
                                   WHERE r.queue = n.queue AND r.priority >= n.runnable_from LIMIT $1) AS counted) AS ready,
           (SELECT count(*) FROM (SELECT FROM longhaul.held h WHERE h.queue = n.queue
                                  UNION ALL
                                  SELECT FROM longhaul.ready r
                                   WHERE r.queue = n.queue AND r.priority < n.runnable_from LIMIT $1) AS counted) AS held,
           coalesce((SELECT tasks FROM later WHERE later.queue = n.queue), 0) AS scheduled,
           coalesce((SELECT tasks FROM running WHERE running.queue = n.queue), 0) AS running,
           (SELECT max(extract(epoch FROM now() - greatest(CASE WHEN isfinite(t.accepted_at) THEN t.accepted_at END,
                                                      CASE WHEN isfinite(t.run_at) THEN t.run_at END))::float8)
              FROM generate_series(n.runnable_from, 19) AS p(priority)
             CROSS JOIN LATERAL (SELECT coalesce(r.task_id, r.id) AS id FROM longhaul.ready r
                                  WHERE r.queue = n.queue AND r.priority = p.priority
                                  ORDER BY r.id LIMIT 1) AS first
              JOIN longhaul.task t USING (id)) AS oldest_seconds,
           EXISTS (SELECT FROM longhaul.queue q WHERE q.name = n.queue AND q.paused_at IS NOT NULL) AS paused,
           EXISTS (SELECT FROM longhaul.ready r WHERE r.queue = n.queue)
           AND NOT EXISTS (SELECT FROM longhaul.workers w WHERE w.state = 'alive' AND n.queue = ANY (w.queues)) AS unserved
      FROM (SELECT queue, ", runnable_from!("named.queue"), " AS runnable_from FROM named) n
     ORDER BY n.queue");

const FLEET: &str = "
    SELECT count(*) FILTER (WHERE state = 'alive'), count(*) FILTER (WHERE state = 'silent'),
           coalesce(sum(slots) FILTER (WHERE state = 'alive'), 0)
      FROM longhaul.workers";

const STALLS: &str = "
    SELECT coalesce((SELECT greatest(extract(epoch FROM now() - min(run_at)), 0) FROM longhaul.scheduled), 0)::float8,
           (SELECT count(*) FROM longhaul.trouble t JOIN longhaul.worker w ON w.id = t.worker_id
             WHERE w.lost_at IS NULL AND w.stopped_at IS NULL)";

const SAMPLE_READY: &str = concat!(
    "SELECT queue, count(*) FILTER (WHERE priority >= runnable_from), count(*) FILTER (WHERE priority < runnable_from)
       FROM (SELECT queue, priority, ",
    runnable_from!("ready.queue"),
    " AS runnable_from FROM longhaul.ready TABLESAMPLE SYSTEM ($1)) AS sampled
      GROUP BY queue"
);
const SAMPLE_HELD: &str = "SELECT queue, count(*), 0::bigint FROM longhaul.held TABLESAMPLE SYSTEM ($1) GROUP BY queue";
const SAMPLE_SCHEDULED: &str = "SELECT '', count(*), 0::bigint FROM longhaul.scheduled TABLESAMPLE SYSTEM ($1)";

/// Reads it. Each number is exact up to a bound and an estimate beyond, so that it
/// costs about as much with millions of waiting tasks as with thousands. Gives up
/// after two seconds.
///
/// # Errors
/// If the database does not answer in time.
pub async fn read(pool: &PgPool) -> sqlx::Result<Depth> {
    let mut transaction = pool.begin().await?;
    sqlx::raw_sql("SET LOCAL statement_timeout = '2s'; SET LOCAL jit = off").execute(&mut *transaction).await?;
    let mut queues: Vec<QueueDepth> =
        sqlx::query_as(COUNTED).bind(COUNTED_AT_MOST).bind(JOINED_AT_MOST).fetch_all(&mut *transaction).await?;
    if queues.iter().any(|queue| queue.ready.max(queue.held) >= COUNTED_AT_MOST) {
        let ready = sample(&mut transaction, SAMPLE_READY, "longhaul.ready").await?;
        let held = sample(&mut transaction, SAMPLE_HELD, "longhaul.held").await?;
        for queue in &mut queues {
            let (runnable, waiting) = ready.get(&queue.queue).copied().unwrap_or_default();
            let (held, _) = held.get(&queue.queue).copied().unwrap_or_default();
            estimate(&mut queue.ready, runnable);
            estimate(&mut queue.held, held + waiting);
        }
    }
    let scheduled: i64 = queues.iter().map(|queue| queue.scheduled).sum();
    if scheduled >= JOINED_AT_MOST {
        // The shares of those that are due next stand for all.
        let sizes = sample(&mut transaction, SAMPLE_SCHEDULED, "longhaul.scheduled").await?;
        let scale = sizes.get("").map_or(1.0, |(all, _)| (all / scheduled as f64).max(1.0));
        queues.iter_mut().for_each(|queue| queue.scheduled = (queue.scheduled as f64 * scale).round() as i64);
    }
    let (workers_alive, workers_silent, slots) = sqlx::query_as(FLEET).fetch_one(&mut *transaction).await?;
    let (overdue_seconds, troubles) = sqlx::query_as(STALLS).fetch_one(&mut *transaction).await?;
    let abandoned = stuck_leases(&mut *transaction).await?.iter().map(|stuck| stuck.tasks).sum();
    transaction.commit().await?;
    Ok(Depth { queues, workers_alive, workers_silent, slots, overdue_seconds, abandoned, troubles })
}

/// What is estimated is at least what was counted.
fn estimate(counted: &mut i64, estimated: f64) {
    if *counted >= COUNTED_AT_MOST {
        *counted = (*counted).max(estimated.round() as i64);
    }
}

/// Rows of each queue, by pages picked at random: both counts of the statement.
async fn sample(
    connection: &mut PgConnection,
    statement: &'static str,
    table: &'static str,
) -> sqlx::Result<HashMap<String, (f64, f64)>> {
    let pages: i64 =
        sqlx::query_scalar("SELECT pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint")
            .bind(table)
            .fetch_one(&mut *connection)
            .await?;
    let percent = (100.0 * SAMPLED_PAGES / (pages as f64).max(1.0)).min(100.0);
    let found: Vec<(String, i64, i64)> =
        sqlx::query_as(statement).bind(percent as f32).fetch_all(&mut *connection).await?;
    let of_all = |rows: i64| rows as f64 * 100.0 / percent;
    Ok(found.into_iter().map(|(queue, one, other)| (queue, (of_all(one), of_all(other)))).collect())
}
