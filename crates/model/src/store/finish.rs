//! How attempts end.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::progress::stored_fraction;
use super::{unless_missing, whole_micros};
use crate::problem::Problem;
use crate::{Progress, State};

/// The end of one attempt.
#[derive(Debug, Clone)]
pub struct AttemptEnd {
    /// The task.
    pub id: Uuid,
    /// The lease it ran under.
    pub lease_number: i64,
    /// The attempt's number.
    pub attempt: u16,
    /// How long the attempt ran.
    pub elapsed: Duration,
    /// How far it got.
    pub progress: Progress,
    /// The last checkpoint that the flusher has not written yet.
    pub checkpoint: Option<Value>,
    /// What becomes of the task.
    pub verdict: Verdict,
    /// Someone asked to cancel the task, and this attempt was told: the request is
    /// done with.
    pub asked_to_cancel: bool,
    /// See [`super::ClaimedTask::special`].
    pub special: bool,
}

impl AttemptEnd {
    /// A success of which nothing more follows, as far as was known at the claim.
    fn is_plain(&self) -> bool {
        matches!(self.verdict, Verdict::Succeeded(_)) && !self.special && !self.asked_to_cancel
    }
}

/// What becomes of a task whose attempt ended.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Done, with its result.
    Succeeded(Option<Value>),
    /// Over, with what clients are told and what only the operator sees.
    Failed(Problem, Option<String>),
    /// Over, as someone asked.
    Cancelled,
    /// Failed, but tried again after the delay.
    Retry(Duration, Problem, Option<String>),
    /// Not yet: again after the delay; the attempt does not count.
    Snooze(Duration),
    /// Given back by a worker that stops; the attempt does not count.
    Release,
    /// Waits, under no lease, until all of its children have ended; then the
    /// handler runs again, in the same attempt.
    AwaitChildren,
}

impl Verdict {
    /// The state that the task is stored in.
    #[must_use]
    pub const fn state(&self) -> State {
        match self {
            Verdict::Succeeded(_) => State::Succeeded,
            Verdict::Failed(..) => State::Failed,
            Verdict::Cancelled => State::Cancelled,
            Verdict::Retry(..) => State::Retrying,
            Verdict::Snooze(_) => State::Scheduled,
            Verdict::Release => State::Queued,
            Verdict::AwaitChildren => State::Running,
        }
    }

    fn counts(&self) -> bool {
        !matches!(self, Verdict::Snooze(_) | Verdict::Release)
    }

    fn delay(&self) -> Option<Duration> {
        match self {
            Verdict::Retry(delay, ..) | Verdict::Snooze(delay) => Some(*delay),
            _ => None,
        }
    }

    fn error(&self) -> Option<Value> {
        match self {
            Verdict::Failed(problem, _) | Verdict::Retry(_, problem, _) => serde_json::to_value(problem).ok(),
            _ => None,
        }
    }

    fn cause(&self) -> Option<&str> {
        match self {
            Verdict::Failed(_, cause) | Verdict::Retry(_, _, cause) => cause.as_deref(),
            _ => None,
        }
    }

    fn result(&self) -> Option<&Value> {
        match self {
            Verdict::Succeeded(result) => result.as_ref(),
            _ => None,
        }
    }
}

/// What becomes of a lease after some of its tasks ended.
#[derive(Debug, Clone, Default)]
pub struct LeaseChanges {
    /// Leases none of whose tasks are at work any more: dropped.
    pub emptied: Vec<i64>,
    /// Leases that go on, some of whose tasks will run again under another one:
    /// those tasks are struck from them.
    pub shortened: Vec<i64>,
}

/// The fence, and the tasks that end behind it. Columns of the input that are the same
/// for all are not sent: a missing array is NULL for every end, which stands for what
/// plain ends have.
macro_rules! ended {
    ($only:literal) => {
        concat!(
            "WITH fence AS MATERIALIZED (
        SELECT number, task_ids, shortened FROM longhaul.lease
         WHERE ",
            leases!("$2"),
            "
           FOR KEY SHARE
    ), ended AS (
        UPDATE longhaul.task t
           SET state = coalesce(i.state::longhaul.task_state, 'Succeeded'),
               attempt = i.attempt,
               worker_id = $1,
               started_at = coalesce(CASE WHEN t.state = 'Running' THEN t.started_at END,
                                     now() - i.elapsed_us * interval '1 microsecond'),
               finished_at = CASE WHEN i.state IS NULL OR i.state IN ('Failed', 'Cancelled') THEN now() END,
               run_at = coalesce(now() + i.delay_us * interval '1 microsecond', t.run_at),
               total_elements = coalesce(i.total_elements, 0),
               processed_elements = coalesce(i.processed_elements, 0),
               fraction = coalesce(i.fraction, 1),
               message = i.message,
               checkpoint = coalesce(i.checkpoint, t.checkpoint),
               result = i.result,
               error = CASE WHEN i.state = 'Failed' THEN i.error END
          FROM (SELECT unnest($2::bigint[]) AS lease_number, unnest($3::uuid[]) AS id, unnest($4::text[]) AS state,
                       unnest($5::smallint[]) AS attempt, unnest($6::bigint[]) AS elapsed_us,
                       unnest($7::bigint[]) AS total_elements, unnest($8::bigint[]) AS processed_elements,
                       unnest($9::float4[]) AS fraction, unnest($10::text[]) AS message,
                       unnest($11::jsonb[]) AS checkpoint, unnest($12::jsonb[]) AS result,
                       unnest($13::jsonb[]) AS error, unnest($14::bigint[]) AS delay_us) AS i
          JOIN fence ON fence.number = i.lease_number AND (NOT fence.shortened OR i.id = ANY (fence.task_ids))
         WHERE ",
            by_key!("t.id", "i.id"),
            " AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')",
            $only
        )
    };
}

macro_rules! told {
    () => {
        ", told AS (
        SELECT longhaul.tell_watchers(array_agg(id)) FROM ended WHERE EXISTS (SELECT FROM longhaul.watched)
    )"
    };
}

/// Nothing is admitted where no queue is gated (longhaul.apply_gate).
macro_rules! left_gate {
    () => {
        ", left_gate AS (
        DELETE FROM longhaul.admitted a USING ended e
         WHERE EXISTS (SELECT FROM longhaul.queue q WHERE q.gated) AND a.id = e.id AND e.state <> 'Queued'
    )"
    };
}

/// The tasks that did not end: looked for only if there are any. What notifies is counted
/// first, since a SELECT in a WITH runs only if it is asked.
macro_rules! missed {
    ($notified:literal) => {
        concat!(
            "SELECT id FROM unnest($3::uuid[]) AS u(id)
     WHERE CASE WHEN ",
            $notified,
            " >= 0 THEN (SELECT count(*) FROM ended) < cardinality($3::uuid[]) END
       AND id NOT IN (SELECT id FROM ended)"
        )
    };
}

/// Whatever an end may bring about, which is looked for among the `special` ones only:
/// those that are no success, or of a task with a unique key or that others wait for.
const FINISH: &str = concat!(
    ended!(""),
    "
        RETURNING t.id, t.queue, t.priority, t.state, t.run_at, t.unique_key, t.followed
    ), special AS MATERIALIZED (
        SELECT * FROM ended WHERE state <> 'Succeeded' OR unique_key IS NOT NULL OR followed
    ), later AS (
        INSERT INTO longhaul.scheduled (run_at, id)
        SELECT run_at, id FROM special WHERE state IN ('Retrying', 'Scheduled')
    ), again AS (
        INSERT INTO longhaul.ready (queue, priority, id)
        SELECT queue, priority, id FROM special WHERE state = 'Queued'
        RETURNING queue
    ), woken AS (
        SELECT pg_notify('longhaul_ready', queue) FROM (SELECT DISTINCT queue FROM again) AS waiting
    )",
    told!(),
    ", failed AS (
        INSERT INTO longhaul.attempt_error (task_id, attempt, worker_id, duration_ms, error)
        SELECT i.id, i.attempt, $1, i.elapsed_us / 1000,
               i.error || CASE WHEN i.cause IS NULL THEN '{}' ELSE jsonb_build_object('cause', i.cause) END
          FROM unnest($3::uuid[], $5::smallint[], $6::bigint[], $13::jsonb[], $15::text[])
            AS i(id, attempt, elapsed_us, error, cause)
          JOIN special USING (id)
         WHERE i.error IS NOT NULL
    )",
    left_gate!(),
    ", keys AS (
        DELETE FROM longhaul.task_key k USING special e
         WHERE k.key = e.unique_key AND k.task_id = e.id AND k.expires_at IS NULL
           AND e.state IN ('Succeeded', 'Failed', 'Cancelled')
    ), requests AS (
        DELETE FROM longhaul.cancel_request
         WHERE cardinality($18::uuid[]) > 0 AND task_id = ANY ($18) AND task_id IN (SELECT id FROM ended)
    ), awaiting AS (
        INSERT INTO longhaul.family AS f (parent_id, children, if_failed, waiting, resume)
        SELECT id, 0, 'Continue', true, true FROM special WHERE state = 'Running'
            ON CONFLICT (parent_id) DO UPDATE SET waiting = true
    ), followed AS (
        INSERT INTO longhaul.ended (id)
        SELECT id FROM special WHERE (followed AND state IN ('Succeeded', 'Failed', 'Cancelled')) OR state = 'Running'
            ON CONFLICT DO NOTHING
        RETURNING id
    ), follower_woken AS (
        SELECT pg_notify('longhaul_followed', '') WHERE EXISTS (SELECT FROM followed)
    ), emptied AS (
        DELETE FROM longhaul.lease WHERE ",
    leases!("$16"),
    "
    ), shortened AS (
        UPDATE longhaul.lease
           SET shortened = true,
               task_ids = ARRAY(SELECT held FROM unnest(task_ids) AS held WHERE held <> ALL ($3::uuid[]))
         WHERE ",
    leases!("$17"),
    "
    )
    ",
    missed!("(SELECT count(*) FROM woken) + (SELECT count(*) FROM told) + (SELECT count(*) FROM follower_woken)")
);

/// For batches of successes without consequences, as most are: each part of the
/// statement above costs some µs even if it finds nothing to do, which is what counts for
/// small batches (docs/performance.md). Tasks whose end has consequences after all are left to it, and
/// with them the leases, whose fence it needs.
const FINISH_PLAIN: &str = concat!(
    ended!(" AND t.unique_key IS NULL AND t.followed IS NOT TRUE"),
    "
        RETURNING t.id, t.state
    )",
    told!(),
    left_gate!(),
    ", emptied AS (
        DELETE FROM longhaul.lease
         WHERE ",
    leases!("$16"),
    " AND (SELECT count(*) FROM ended) = cardinality($3::uuid[])
    )
    ",
    missed!("(SELECT count(*) FROM told)")
);

/// Ends attempts of one worker, behind the fence: what ran under a lease that
/// is gone, or was ended by someone else, is left as it is. Returns the tasks that
/// were changed.
///
/// # Errors
/// When the database does not answer. Call it again with the same ends: those
/// that were stored after all are then not changed a second time.
pub async fn finish(
    connection: &mut PgConnection,
    worker_id: i32,
    ends: &[AttemptEnd],
    leases: &LeaseChanges,
) -> sqlx::Result<Vec<Uuid>> {
    let ends: Vec<&AttemptEnd> = ends.iter().collect();
    let plain = leases.shortened.is_empty() && ends.iter().all(|end| end.is_plain());
    let mut missed = store(if plain { FINISH_PLAIN } else { FINISH }, connection, worker_id, &ends, leases).await?;
    if plain && !missed.is_empty() {
        let rest: Vec<&AttemptEnd> = ends.iter().copied().filter(|end| missed.contains(&end.id)).collect();
        missed = store(FINISH, connection, worker_id, &rest, leases).await?;
    }
    Ok(ends.iter().map(|end| end.id).filter(|id| !missed.contains(id)).collect())
}

/// Returns the tasks that were not changed.
async fn store(
    statement: &'static str,
    connection: &mut PgConnection,
    worker_id: i32,
    ends: &[&AttemptEnd],
    leases: &LeaseChanges,
) -> sqlx::Result<HashSet<Uuid>> {
    fn column<'a, T>(ends: &[&'a AttemptEnd], pick: impl Fn(&'a AttemptEnd) -> T) -> Vec<T> {
        ends.iter().map(|end| pick(end)).collect()
    }
    fn uncommon<'a, T>(ends: &[&'a AttemptEnd], pick: impl Fn(&'a AttemptEnd) -> Option<T>) -> Option<Vec<Option<T>>> {
        unless_missing(column(ends, pick))
    }
    let done_with = ends.iter().filter(|end| end.asked_to_cancel && end.verdict.state().is_end());
    let missed: Vec<Uuid> = sqlx::query_scalar(statement)
        .bind(worker_id)
        .bind(column(ends, |end| end.lease_number))
        .bind(column(ends, |end| end.id))
        .bind(uncommon(ends, |end| {
            Some(end.verdict.state()).filter(|state| *state != State::Succeeded).map(State::name)
        }))
        .bind(column(ends, |end| super::small(end.attempt - u16::from(!end.verdict.counts()))))
        .bind(column(ends, |end| whole_micros(end.elapsed)))
        .bind(uncommon(ends, |end| Some(end.progress.total).filter(|total| *total != 0)))
        .bind(uncommon(ends, |end| Some(end.progress.processed).filter(|processed| *processed != 0)))
        .bind(uncommon(ends, |end| match end.verdict {
            Verdict::Succeeded(_) => None,
            _ => Some(stored_fraction(end.progress.fraction)),
        }))
        .bind(uncommon(ends, |end| end.progress.message.as_deref()))
        .bind(uncommon(ends, |end| end.checkpoint.as_ref()))
        .bind(uncommon(ends, |end| end.verdict.result()))
        .bind(uncommon(ends, |end| end.verdict.error()))
        .bind(uncommon(ends, |end| end.verdict.delay().map(whole_micros)))
        .bind(uncommon(ends, |end| end.verdict.cause()))
        .bind(&leases.emptied)
        .bind(&leases.shortened)
        .bind(done_with.map(|end| end.id).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    Ok(missed.into_iter().collect())
}
