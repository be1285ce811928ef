//! How attempts end.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
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
    pub verdict: AttemptOutcome,
    /// Someone asked to cancel the task, and this attempt was told: the end has the request
    /// to remove.
    pub asked_to_cancel: bool,
    /// See [`super::ClaimedTask::special`].
    pub special: bool,
}

impl AttemptEnd {
    /// A success of which nothing more follows, as far as was known at the claim.
    fn is_plain(&self) -> bool {
        matches!(self.verdict, AttemptOutcome::Succeeded(_)) && !self.special && !self.asked_to_cancel
    }
}

/// What becomes of a task whose attempt ended.
#[derive(Debug, Clone)]
pub enum AttemptOutcome {
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
    /// The database interrupted it: again after the delay; the attempt does not count, and
    /// how often that was is counted in the task's row until an attempt ends otherwise.
    Interrupted(Duration),
    /// Given back by a worker that stops; the attempt does not count.
    Release,
    /// Waits, under no lease, until all of its children have ended; then the
    /// handler runs again, in the same attempt.
    AwaitChildren,
}

impl AttemptOutcome {
    /// The state that the task is stored in.
    #[must_use]
    pub const fn state(&self) -> State {
        match self {
            AttemptOutcome::Succeeded(_) => State::Succeeded,
            AttemptOutcome::Failed(..) => State::Failed,
            AttemptOutcome::Cancelled => State::Cancelled,
            AttemptOutcome::Retry(..) => State::Retrying,
            AttemptOutcome::Snooze(_) | AttemptOutcome::Interrupted(_) => State::Scheduled,
            AttemptOutcome::Release => State::Queued,
            AttemptOutcome::AwaitChildren => State::Running,
        }
    }

    fn counts(&self) -> bool {
        !matches!(self, AttemptOutcome::Snooze(_) | AttemptOutcome::Interrupted(_) | AttemptOutcome::Release)
    }

    fn delay(&self) -> Option<Duration> {
        match self {
            AttemptOutcome::Retry(delay, ..) | AttemptOutcome::Snooze(delay) | AttemptOutcome::Interrupted(delay) => {
                Some(*delay)
            }
            _ => None,
        }
    }

    fn error(&self) -> Option<Value> {
        match self {
            AttemptOutcome::Failed(problem, _) | AttemptOutcome::Retry(_, problem, _) => {
                serde_json::to_value(problem).ok()
            }
            _ => None,
        }
    }

    fn cause(&self) -> Option<&str> {
        match self {
            AttemptOutcome::Failed(_, cause) | AttemptOutcome::Retry(_, _, cause) => cause.as_deref(),
            _ => None,
        }
    }

    fn result(&self) -> Option<&Value> {
        match self {
            AttemptOutcome::Succeeded(result) => result.as_ref(),
            _ => None,
        }
    }
}

/// What becomes of a lease after some of its tasks ended. A lease stays if one of the ends
/// is not stored: a task of it may still be at work. Tasks that ended are struck from a lease
/// that stays so: some of them may run again under another one.
#[derive(Debug, Clone, Default)]
pub struct LeaseChanges {
    /// Leases none of whose tasks are at work any more: dropped.
    pub emptied: Vec<i64>,
    /// Leases that go on, some of whose tasks will run again under another one, or may as soon as
    /// someone retries them: those tasks are struck from them.
    pub shortened: Vec<i64>,
}

/// The fence, and the tasks that end behind it. The fence waits for another statement that
/// changes the lease, and then reads what that one left: the statement may be made again
/// while the first one, whose answer was lost, is still at work in the server. It does not
/// wait for transactions of handlers, which lock the lease `FOR KEY SHARE`. Columns of the
/// input that are the same for all are not sent: a missing array is NULL for every end,
/// which stands for what plain ends have.
macro_rules! ended {
    ($set:literal, $input:literal, $only:literal) => {
        concat!(
            "WITH fence AS MATERIALIZED (
        SELECT number, task_ids, shortened FROM longhaul.lease
         WHERE ",
            leases!("$2"),
            "
           FOR NO KEY UPDATE
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
               error = CASE WHEN i.state = 'Failed' THEN i.error END",
            $set,
            "
          FROM (SELECT unnest($2::bigint[]) AS lease_number, unnest($3::uuid[]) AS id, unnest($4::text[]) AS state,
                       unnest($5::smallint[]) AS attempt, unnest($6::bigint[]) AS elapsed_us,
                       unnest($7::bigint[]) AS total_elements, unnest($8::bigint[]) AS processed_elements,
                       unnest($9::float4[]) AS fraction, unnest($10::text[]) AS message,
                       unnest($11::jsonb[]) AS checkpoint, unnest($12::jsonb[]) AS result,
                       unnest($13::jsonb[]) AS error, unnest($14::bigint[]) AS delay_us",
            $input,
            ") AS i
          JOIN fence ON fence.number = i.lease_number AND (NOT fence.shortened OR i.id = ANY (fence.task_ids))
         WHERE ",
            by_key!("t.id", "i.id"),
            " AND ",
            // A snooze and a release store the attempt as not begun.
            at_work!("i.attempt + CASE WHEN i.state IN ('Scheduled', 'Queued') THEN 1 ELSE 0 END"),
            $only
        )
    };
}

/// The tasks that did not end: looked for only if there are any. What calls functions is counted
/// first, since a SELECT in a WITH runs only if it is asked.
macro_rules! missed {
    ($called:literal) => {
        concat!(
            "SELECT id FROM unnest($3::uuid[]) AS u(id)
     WHERE CASE WHEN ",
            $called,
            " >= 0 THEN (SELECT count(*) FROM ended) < cardinality($3::uuid[]) END
       AND id NOT IN (SELECT id FROM ended)"
        )
    };
}

/// The general end. `over` are ends from which something follows (`longhaul.end_tasks`): those
/// that are no success, or of a task with a unique key or that others wait for, or that was asked
/// to stop. Other successes are counted ([`super::successes`]), leave their gate and are told to
/// watchers, as is what goes on.
///
/// Functions see what the statement has written before it calls them.
const FINISH: &str = concat!(
    ended!(
        ",
               interruptions = CASE WHEN i.interrupted THEN least(greatest(coalesce(t.interruptions, 0), 0) + 1, 32767) END",
        ", unnest($19::boolean[]) AS interrupted",
        ""
    ),
    "
        -- Whoever asks a task to stop marks it as followed; of requests from before that was so,
        -- $18 has those that the attempt was told of.
        RETURNING t.id, t.queue, t.priority, t.state, t.run_at,
                  t.state IN ('Failed', 'Cancelled')
                  OR t.state = 'Succeeded' AND (t.unique_key IS NOT NULL OR t.followed IS TRUE OR t.id = ANY ($18::uuid[])) AS over
    ), over AS (
        SELECT longhaul.end_tasks(array_agg(id)) FROM ended WHERE over HAVING count(*) > 0
    ), counted AS (
        INSERT INTO longhaul.successes (tasks)
        SELECT count(*) FROM ended WHERE state = 'Succeeded' AND NOT over HAVING count(*) > 0
    ), again AS (
        SELECT longhaul.make_ready(array_agg(id), array_agg(queue), array_agg(priority))
          FROM ended WHERE state = 'Queued' HAVING count(*) > 0
    ), later AS (
        INSERT INTO longhaul.scheduled (run_at, id)
        SELECT run_at, id FROM ended WHERE state IN ('Retrying', 'Scheduled')
    ), left_gate AS (
        SELECT longhaul.leave_gate(array_agg(id)) FROM ended WHERE NOT over HAVING count(*) > 0
    ), told AS (
        SELECT longhaul.tell_watchers(array_agg(id)) FROM ended
         WHERE NOT over AND EXISTS (SELECT FROM longhaul.watched)
    ), failed AS (
        INSERT INTO longhaul.attempt_error (task_id, attempt, worker_id, duration_ms, error)
        SELECT i.id, i.attempt, $1, i.elapsed_us / 1000,
               i.error || CASE WHEN i.cause IS NULL THEN '{}' ELSE jsonb_build_object('cause', i.cause) END
          FROM unnest($3::uuid[], $5::smallint[], $6::bigint[], $13::jsonb[], $15::text[])
            AS i(id, attempt, elapsed_us, error, cause)
          JOIN ended USING (id)
         WHERE i.error IS NOT NULL
    ), awaiting AS (
        INSERT INTO longhaul.family AS f (parent_id, children, if_failed, waiting, resume)
        SELECT id, 0, 'Continue', true, true FROM ended WHERE state = 'Running'
            ON CONFLICT (parent_id) DO UPDATE SET waiting = true
    ), looked_at AS (
        -- The follower finds out whether there are children to wait for.
        INSERT INTO longhaul.ended (id) SELECT id FROM ended WHERE state = 'Running' ON CONFLICT DO NOTHING
        RETURNING id
    ), follower_woken AS (
        SELECT pg_notify('longhaul_followed', '') WHERE EXISTS (SELECT FROM looked_at)
    ), emptied AS (
        DELETE FROM longhaul.lease WHERE ",
    leases!("$16"),
    "
           AND ((SELECT count(*) FROM ended) = cardinality($3::uuid[])
                OR number <> ALL (ARRAY(SELECT lease_number FROM unnest($2::bigint[], $3::uuid[]) AS m(lease_number, id)
                                         WHERE m.id NOT IN (SELECT id FROM ended))))
        RETURNING number
    ), shortened AS (
        UPDATE longhaul.lease
           SET shortened = true,
               task_ids = ARRAY(SELECT held FROM unnest(task_ids) AS held WHERE held NOT IN (SELECT id FROM ended))
         WHERE ",
    leases!("$16::bigint[] || $17"),
    "
           AND number NOT IN (SELECT number FROM emptied)
    )
    ",
    missed!(
        "(SELECT count(*) FROM over) + (SELECT count(*) FROM again) + (SELECT count(*) FROM left_gate)
         + (SELECT count(*) FROM told) + (SELECT count(*) FROM follower_woken)"
    )
);

/// A batch of plain successes, fused: the only end that does without `longhaul.end_tasks` and
/// `longhaul.leave_gate`, for each part of a statement costs some µs even if it finds nothing to
/// do, which is what counts for small batches (docs/adr/0008-performance-history.md). Tasks from whose end
/// something follows after all are left to [`FINISH`], and with them the leases, whose fence it
/// needs. What it does to every table is compared with [`FINISH`] by a test.
const FINISH_PLAIN: &str = concat!(
    ended!("", "", " AND t.unique_key IS NULL AND t.followed IS NOT TRUE"),
    "
        RETURNING t.id, t.state
    ), counted AS (
        INSERT INTO longhaul.successes (tasks) SELECT count(*) FROM ended HAVING count(*) > 0
    ), told AS (
        SELECT longhaul.tell_watchers(array_agg(id)) FROM ended WHERE EXISTS (SELECT FROM longhaul.watched)
    ), left_gate AS (
        DELETE FROM longhaul.admitted a USING ended e
         WHERE EXISTS (SELECT FROM longhaul.queue q WHERE q.gated) AND a.id = e.id
        RETURNING a.queue
    ), emptied AS (
        DELETE FROM longhaul.lease
         WHERE ",
    leases!("$16"),
    " AND (SELECT count(*) FROM ended) = cardinality($3::uuid[])
    )
    ",
    missed!("(SELECT count(*) FROM told) + (SELECT count(pg_notify('longhaul_gate', queue)::text) FROM left_gate)")
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

/// Which of these ends wait for no lock: neither their lease's row nor their task's is locked
/// by another transaction now.
///
/// # Errors
/// When the database fails.
pub async fn unlocked(
    connection: &mut PgConnection,
    worker_id: i32,
    ends: &[(i64, Uuid)],
) -> sqlx::Result<HashSet<Uuid>> {
    let (numbers, ids): (Vec<i64>, Vec<Uuid>) = ends.iter().copied().unzip();
    let free: Vec<Uuid> = sqlx::query_scalar(concat!(
        "WITH free_lease AS MATERIALIZED (
             SELECT number FROM longhaul.lease WHERE ",
        leases!("$2"),
        " FOR NO KEY UPDATE SKIP LOCKED
         ), locked_lease AS MATERIALIZED (
             SELECT number FROM longhaul.lease WHERE ",
        leases!("$2"),
        " AND number NOT IN (SELECT number FROM free_lease)
         ), free AS MATERIALIZED (
             SELECT id FROM longhaul.task WHERE id = ANY ($3::uuid[]) FOR NO KEY UPDATE SKIP LOCKED
         )
         SELECT i.id FROM unnest($2::bigint[], $3::uuid[]) AS i(number, id)
          WHERE i.id IN (SELECT id FROM free) AND i.number NOT IN (SELECT number FROM locked_lease)"
    ))
    .bind(worker_id)
    .bind(numbers)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(free.into_iter().collect())
}

/// How often in a row the database has interrupted the attempt at this task.
///
/// # Errors
/// When the database does not answer.
pub async fn interruptions(executor: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<u16> {
    let times: Option<Option<i16>> = sqlx::query_scalar("SELECT interruptions FROM longhaul.task WHERE id = $1")
        .bind(id)
        .fetch_optional(executor)
        .await?;
    Ok(times.flatten().and_then(|times| u16::try_from(times).ok()).unwrap_or(0))
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
            AttemptOutcome::Succeeded(_) => None,
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
        .bind(uncommon(ends, |end| matches!(end.verdict, AttemptOutcome::Interrupted(_)).then_some(true)))
        .fetch_all(connection)
        .await?;
    Ok(missed.into_iter().collect())
}
