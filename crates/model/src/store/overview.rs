//! The queue at a glance.

use sqlx::{FromRow, PgPool};

use super::queue::{self, Queue};

/// How things stand now.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// Every queue.
    pub queues: Vec<Queue>,
    /// For how many seconds the oldest task of each queue that could run has waited,
    /// in the order of `queues`; `None` if nothing waits.
    pub oldest_waiting: Vec<Option<f64>>,
    /// Workers.
    pub workers: Workers,
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

/// How things stand now.
///
/// # Errors
/// When the database does not answer.
pub async fn overview(pool: &PgPool) -> sqlx::Result<Overview> {
    let queues = queue::list(pool, None).await?;
    let names: Vec<&str> = queues.iter().map(|queue| queue.name.as_str()).collect();
    let oldest_waiting = sqlx::query_scalar(
        "SELECT (SELECT extract(epoch FROM now() - min(t.accepted_at))::float8
                   FROM generate_series(0, 9) AS p(priority)
                  CROSS JOIN LATERAL (SELECT coalesce(r.task_id, r.id) AS id FROM longhaul.ready r
                                       WHERE r.queue = n.name AND r.priority = p.priority
                                       ORDER BY r.id LIMIT 1) first
                   JOIN longhaul.task t USING (id))
           FROM unnest($1::text[]) WITH ORDINALITY AS n(name, place) ORDER BY n.place",
    )
    .bind(names)
    .fetch_all(pool)
    .await?;
    let workers = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE on_time) AS alive, count(*) FILTER (WHERE NOT on_time) AS silent,
                coalesce(sum(slots) FILTER (WHERE on_time), 0)::bigint AS slots
           FROM (SELECT slots, heartbeat_at >= now() - heartbeat_ms * interval '1.7 ms' AS on_time
                   FROM longhaul.worker WHERE stopped_at IS NULL AND lost_at IS NULL) w",
    )
    .fetch_one(pool)
    .await?;
    Ok(Overview { queues, oldest_waiting, workers })
}
