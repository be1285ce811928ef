//! Writing the progress of tasks at work.

use std::time::Duration;

use serde_json::Value;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use sqlx::{PgConnection, PgExecutor, Postgres};
use uuid::Uuid;

use super::{unless_missing, whole_micros};
use crate::{LogLine, Progress, StepState, TimeLeft};

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
    /// Its progress.
    pub progress: Progress,
    /// A new checkpoint, if any.
    pub checkpoint: Option<Value>,
    /// What only some attempts have.
    pub details: Details,
}

/// What only some attempts have to say.
#[derive(Debug, Clone, Default)]
pub struct Details {
    /// The steps at work, from the outermost.
    pub steps: Option<Vec<StepState>>,
    /// How long it will still take; below 0 if that is overdue.
    pub time_left: Option<TimeLeft>,
    /// New lines of its log. Those that were stored before are left as they are.
    pub lines: Vec<LogLine>,
    /// With lines: how many the log has had in all.
    pub logged: Option<i64>,
    /// With lines: how many of them are kept.
    pub log_lines: u32,
}

macro_rules! write_progress {
    ($commit:literal, $lock:literal, $free:literal, $join:literal, $log:literal, $written:literal) => {
        concat!(
            "WITH fence AS MATERIALIZED (
                SELECT number, task_ids, shortened",
            $commit,
            "
                  FROM longhaul.lease
                 WHERE ",
            leases!("$2"),
            $lock,
            ")",
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
                    checkpoint = coalesce(u.checkpoint, t.checkpoint),
                    steps = u.steps,
                    ends_at = clock_timestamp() + u.left_us * interval '1 microsecond',
                    ends_from = clock_timestamp() + u.left_low_us * interval '1 microsecond',
                    ends_until = clock_timestamp() + u.left_high_us * interval '1 microsecond',
                    logged = coalesce(u.logged, t.logged)
               FROM (SELECT unnest($2::bigint[]) AS lease_number, unnest($3::uuid[]) AS id,
                            unnest($4::smallint[]) AS attempt, unnest($5::bigint[]) AS elapsed_us,
                            unnest($6::bigint[]) AS total_elements, unnest($7::bigint[]) AS processed_elements,
                            unnest($8::float4[]) AS fraction, unnest($9::text[]) AS message,
                            unnest($10::jsonb[]) AS checkpoint, unnest($11::jsonb[]) AS steps,
                            unnest($12::bigint[]) AS left_us, unnest($13::bigint[]) AS left_low_us,
                            unnest($14::bigint[]) AS left_high_us, unnest($15::bigint[]) AS logged) AS u
               JOIN fence ON fence.number = u.lease_number AND (NOT fence.shortened OR u.id = ANY (fence.task_ids))",
            $join,
            " WHERE ",
            by_key!("t.id", "u.id"),
            " AND ",
            at_work!("u.attempt"),
            "
             RETURNING t.id, t.attempt, t.logged)",
            $log,
            $written
        )
    };
}

/// Lines that are there already (a write whose answer was lost) stay as they are.
/// Of those that are too many, the oldest go: found by the primary key, task by
/// task, whatever the planner thinks of the table.
macro_rules! with_log {
    ($commit:literal, $lock:literal, $free:literal, $join:literal, $written:literal) => {
        write_progress!(
            $commit,
            $lock,
            $free,
            $join,
            ", logged AS (
                INSERT INTO longhaul.task_log (task_id, number, logged_at, attempt, level, line)
                SELECT w.id, l.number, clock_timestamp() - l.age_us * interval '1 microsecond', w.attempt, l.level, l.line
                  FROM unnest($16::uuid[], $17::bigint[], $18::bigint[], $19::smallint[], $20::text[])
                    AS l(id, number, age_us, level, line)
                  JOIN written w ON w.id = l.id
                 WHERE l.number > w.logged - $21
                ON CONFLICT (task_id, number) DO NOTHING
            ), trimmed AS (
                DELETE FROM longhaul.task_log
                 WHERE ctid = ANY (ARRAY(
                       SELECT old.place
                         FROM written w
                        CROSS JOIN LATERAL (SELECT g.ctid AS place FROM longhaul.task_log g
                                             WHERE g.task_id = w.id AND g.number <= w.logged - $21
                                             ORDER BY g.number LIMIT 100000) AS old
                        WHERE w.logged > $21))
            )",
            $written
        )
    };
}

/// Progress alone need not be durable at once: a crash of the server may cost
/// the last fraction of a second of it. Nor does it wait: a lease or a row that is locked
/// is passed over. It is being ended or rescued, or belongs to a handler's open
/// transaction, which writes it itself. The lease is locked `FOR SHARE`: PostgreSQL then
/// reads its newest version, from which a retry or a snooze that was just committed has
/// struck the task (`FOR KEY SHARE` would read the version of the snapshot), and no such end
/// can be committed in between. `free` asks for the fence, so that the lease is locked first
/// here too. Returns what was not written, which is next to nothing.
macro_rules! flush {
    ($write:ident $(, $log:literal)?) => {
        $write!(
            ", set_config('synchronous_commit', 'off', true)",
            " FOR SHARE SKIP LOCKED",
            ", free AS MATERIALIZED (
                SELECT id FROM longhaul.task
                 WHERE id = ANY ($3::uuid[]) AND (SELECT count(*) FROM fence) > 0
                   FOR NO KEY UPDATE SKIP LOCKED
            )",
            " JOIN free ON free.id = u.id",
            $($log,)?
            ", told AS (
                SELECT longhaul.tell_watchers(array_agg(id)) FROM written WHERE EXISTS (SELECT FROM longhaul.watched)
            )
            SELECT id FROM unnest($3::uuid[]) AS u(id)
             WHERE id NOT IN (SELECT id FROM written) AND (SELECT count(*) FROM told) >= 0"
        )
    };
}

const FLUSH: &str = flush!(write_progress, "");
const FLUSH_LOG: &str = flush!(with_log);
/// Inside a handler's transaction, whose durability is the handler's choice, and which may
/// stay open for long: `FOR KEY SHARE` keeps no other task's end from changing the lease.
/// Watchers are told by the next flush: notifying commits wait for each other,
/// and a handler's may be a long one.
const WRITE: &str = write_progress!("", " FOR KEY SHARE", "", "", "", "SELECT id FROM written");
/// Just before the end, whose commit makes it durable, and which tells watchers.
/// It waits for a row that is locked, as the end does: the handler is gone, so it
/// is the flusher, or the rest of the handler's transaction. It locks the lease as a flush does,
/// and for the same reason: its connection may have been cut, so that it runs beside the end
/// after all, and a release leaves a row that the attempt could write.
const LAST_WORDS: &str =
    with_log!(", set_config('synchronous_commit', 'off', true)", " FOR SHARE", "", "", "SELECT id FROM written");

/// Writes progress of tasks of one worker; returns the tasks whose lease still
/// held, that were still open, and that nobody had locked.
///
/// # Errors
/// If the database does not answer; nothing is written then. It may also refuse what is written:
/// then nothing of all of it is.
pub async fn flush(executor: impl PgExecutor<'_>, worker_id: i32, writes: &[ProgressWrite]) -> sqlx::Result<Vec<Uuid>> {
    let missed = if writes.iter().all(|write| write.details.lines.is_empty()) {
        progress(FLUSH, worker_id, writes).fetch_all(executor).await?
    } else {
        with_log(progress(FLUSH_LOG, worker_id, writes), writes).fetch_all(executor).await?
    };
    Ok(writes.iter().map(|write| write.id).filter(|id| !missed.contains(id)).collect())
}

/// What attempts have to say before they end: their last steps and lines.
///
/// # Errors
/// As [`flush`].
pub async fn last_words(
    executor: impl PgExecutor<'_>,
    worker_id: i32,
    writes: &[ProgressWrite],
) -> sqlx::Result<Vec<Uuid>> {
    with_log(progress(LAST_WORDS, worker_id, writes), writes).fetch_all(executor).await
}

/// As [`flush`], inside a transaction of the handler's; without its log, which a
/// rollback must not take along.
///
/// # Errors
/// If the database does not answer.
pub async fn write_fenced(
    transaction: &mut PgConnection,
    worker_id: i32,
    writes: &[ProgressWrite],
) -> sqlx::Result<Vec<Uuid>> {
    progress(WRITE, worker_id, writes).fetch_all(transaction).await
}

type Ids<'q> = QueryScalar<'q, Postgres, Uuid, PgArguments>;

fn progress<'q>(sql: &'static str, worker_id: i32, writes: &'q [ProgressWrite]) -> Ids<'q> {
    fn column<'a, T>(writes: &'a [ProgressWrite], pick: impl Fn(&'a ProgressWrite) -> T) -> Vec<T> {
        writes.iter().map(pick).collect()
    }
    fn left(writes: &[ProgressWrite], pick: impl Fn(TimeLeft) -> f64) -> Option<Vec<Option<i64>>> {
        unless_missing(column(writes, |write| write.details.time_left.map(|left| (pick(left) * 1e6) as i64)))
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
        .bind(unless_missing(column(writes, |write| write.progress.message.as_deref())))
        .bind(unless_missing(column(writes, |write| write.checkpoint.as_ref())))
        .bind(unless_missing(column(writes, |write| {
            write.details.steps.as_ref().and_then(|steps| serde_json::to_value(steps).ok())
        })))
        .bind(left(writes, |left| left.seconds))
        .bind(left(writes, |left| left.low))
        .bind(left(writes, |left| left.high))
        .bind(unless_missing(column(writes, |write| write.details.logged)))
}

fn with_log<'q>(query: Ids<'q>, writes: &'q [ProgressWrite]) -> Ids<'q> {
    fn column<'q, T>(writes: &'q [ProgressWrite], pick: impl Fn(&'q ProgressWrite, &'q LogLine) -> T) -> Vec<T> {
        writes.iter().flat_map(|write| write.details.lines.iter().map(|line| pick(write, line))).collect()
    }
    let kept = writes.iter().map(|write| write.details.log_lines).max().unwrap_or_default();
    query
        .bind(column(writes, |write, _| write.id))
        .bind(column(writes, |_, line| line.number))
        .bind(column(writes, |_, line| whole_micros(line.at.elapsed())))
        .bind(column(writes, |_, line| super::log::stored_level(line.level)))
        .bind(column(writes, |_, line| &*line.text))
        .bind(i64::from(kept))
}

/// Four bytes are enough for two decimals.
pub(super) fn stored_fraction(fraction: f64) -> f32 {
    fraction as f32
}
