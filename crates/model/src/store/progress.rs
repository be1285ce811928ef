//! Writing the progress of tasks at work.

use std::time::Duration;

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::whole_micros;
use crate::Progress;

/// What one attempt has to say.
#[derive(Debug, Clone)]
pub struct ProgressWrite {
    /// The task.
    pub id: Uuid,
    /// The lease it runs under.
    pub lease_number: i64,
    /// The attempt's number.
    pub attempt: u16,
    /// How long the attempt has run.
    pub elapsed: Duration,
    /// How far it is.
    pub progress: Progress,
    /// A new checkpoint, if any.
    pub checkpoint: Option<Value>,
}

macro_rules! write_progress {
    ($commit:literal, $free:literal, $join:literal, $written:literal) => {
        concat!(
            "WITH fence AS MATERIALIZED (
                SELECT number, task_ids, shortened",
            $commit,
            "
                  FROM longhaul.lease
                 WHERE worker_id = $1 AND number = ANY ($2::bigint[])
                   FOR KEY SHARE
             )",
            $free,
            ", written AS (
             UPDATE longhaul.task t
                SET state = 'Running',
                    attempt = u.attempt,
                    worker_id = $1,
                    started_at = CASE WHEN t.state = 'Running' AND t.attempt = u.attempt THEN t.started_at
                                      ELSE clock_timestamp() - u.elapsed_us * interval '1 microsecond' END,
                    total_elements = u.total_elements,
                    processed_elements = u.processed_elements,
                    fraction = CASE WHEN t.state = 'Running' AND t.attempt = u.attempt
                                    THEN greatest(t.fraction, u.fraction) ELSE u.fraction END,
                    message = u.message,
                    checkpoint = coalesce(u.checkpoint, t.checkpoint)
               FROM unnest($2::bigint[], $3::uuid[], $4::smallint[], $5::bigint[], $6::bigint[], $7::bigint[],
                           $8::float4[], $9::text[], $10::jsonb[])
                 AS u(lease_number, id, attempt, elapsed_us, total_elements, processed_elements, fraction, message,
                      checkpoint)
               JOIN fence ON fence.number = u.lease_number AND (NOT fence.shortened OR u.id = ANY (fence.task_ids))",
            $join,
            " WHERE t.id = u.id AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')
             RETURNING t.id)",
            $written
        )
    };
}

/// Progress alone need not be durable at once: a crash of the server may cost
/// the last fraction of a second of it. Nor does it wait: a row that is locked is
/// passed over. It is being ended, in an order of its own (waiting could lock each
/// other out), or belongs to a handler's open transaction, which writes it itself.
/// `free` asks for the fence, so that the lease is locked first here too.
const FLUSH: &str = write_progress!(
    ", set_config('synchronous_commit', 'off', true)",
    ", free AS MATERIALIZED (
        SELECT id FROM longhaul.task
         WHERE id = ANY ($3::uuid[]) AND (SELECT count(*) FROM fence) > 0
           FOR NO KEY UPDATE SKIP LOCKED
    )",
    " JOIN free ON free.id = u.id",
    ", told AS (
        SELECT longhaul.tell_watchers(array_agg(id)) FROM written WHERE EXISTS (SELECT FROM longhaul.watched)
    )
    SELECT id FROM written WHERE (SELECT count(*) FROM told) >= 0"
);
/// Inside a handler's transaction, whose durability is the handler's choice.
/// Watchers are told by the next flush: notifying commits wait for each other,
/// and a handler's may be a long one.
const WRITE: &str = write_progress!("", "", "", "SELECT id FROM written");

/// Writes progress of tasks of one worker; returns the tasks whose lease still
/// held, that were still open, and that nobody had locked.
///
/// # Errors
/// When the database does not answer; nothing is written then.
pub async fn flush(executor: impl PgExecutor<'_>, worker_id: i32, writes: &[ProgressWrite]) -> sqlx::Result<Vec<Uuid>> {
    write(executor, FLUSH, worker_id, writes).await
}

/// As [`flush`], inside a transaction of the handler's.
///
/// # Errors
/// When the database does not answer.
pub async fn write_fenced(
    transaction: &mut PgConnection,
    worker_id: i32,
    writes: &[ProgressWrite],
) -> sqlx::Result<Vec<Uuid>> {
    write(transaction, WRITE, worker_id, writes).await
}

async fn write(
    executor: impl PgExecutor<'_>,
    sql: &'static str,
    worker_id: i32,
    writes: &[ProgressWrite],
) -> sqlx::Result<Vec<Uuid>> {
    fn column<'a, T>(writes: &'a [ProgressWrite], pick: impl Fn(&'a ProgressWrite) -> T) -> Vec<T> {
        writes.iter().map(pick).collect()
    }
    sqlx::query_scalar(sql)
        .bind(worker_id)
        .bind(column(writes, |write| write.lease_number))
        .bind(column(writes, |write| write.id))
        .bind(column(writes, |write| super::small(write.attempt)))
        .bind(column(writes, |write| whole_micros(write.elapsed)))
        .bind(column(writes, |write| write.progress.total))
        .bind(column(writes, |write| write.progress.processed))
        .bind(column(writes, |write| stored_fraction(write.progress.fraction)))
        .bind(column(writes, |write| write.progress.message.as_deref()))
        .bind(column(writes, |write| write.checkpoint.as_ref()))
        .fetch_all(executor)
        .await
}

/// Four bytes are enough for two decimals.
pub(super) fn stored_fraction(fraction: f64) -> f32 {
    fraction as f32
}
