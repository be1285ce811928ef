//! Finding tasks by what they are, a window of the table at a time.

use sqlx::PgExecutor;
use uuid::Uuid;

use super::unsuccessful::{self, is_unsuccessful};
use crate::clock::id_floor;

pub use super::filter::TaskFilter;

/// What one look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Matching tasks, in the order of their ids.
    pub ids: Vec<Uuid>,
    /// The last task that was looked at: go on after it. `None`: there was none left.
    pub last: Option<Uuid>,
}

/// An id carries the time when it was made, which may be earlier than `accepted_at`
/// (by a long transaction) or later; by no more than this.
const SLACK_MS: i64 = 24 * 3600 * 1000;

/// Of the tasks of `part`, those that fit, and the last row of `last`. `$1` to `$7` are those of
/// [`unsuccessful::fits`](super::unsuccessful), `$8` and `$9` the range, `$10` how many to look at,
/// `$13` the tag.
/// The stored state decides first, since it costs nothing; the view's, which looks where a task
/// waits, only for what is left.
macro_rules! find {
    ($part:expr, $last:literal) => {
        concat!(
            "WITH ",
            $part,
            ", fitting AS (
        SELECT p.id FROM part p
         WHERE (cardinality($2::text[]) = 0 OR p.type = ANY ($2))
           AND ($3::text IS NULL OR p.queue = $3)
           AND ($4::text IS NULL OR p.created_by = $4)
           AND ($5::timestamptz IS NULL OR p.accepted_at >= $5)
           AND ($6::timestamptz IS NULL OR p.accepted_at < $6)
           AND ($11::text IS NULL OR p.key = $11)
           AND CASE WHEN cardinality($1::text[]) = 0 THEN true
                    WHEN p.state IN ('Succeeded', 'Failed', 'Cancelled') THEN p.state::text = ANY ($1)
                    WHEN NOT $12 THEN false
                    ELSE (SELECT v.state::text = ANY ($1) FROM longhaul.tasks v WHERE v.id = p.id) END
           AND ($7::text IS NULL
                OR coalesce(p.error, (SELECT e.error FROM longhaul.attempt_error e WHERE e.task_id = p.id
                                       ORDER BY e.attempt DESC, e.failed_at DESC LIMIT 1)) ->> 'code' = $7)
    )
    SELECT coalesce((SELECT array_agg(id ORDER BY id) FROM fitting), '{}'),
           (SELECT id FROM ",
            $last,
            " ORDER BY id DESC LIMIT 1)"
        )
    };
}

/// Walks along the table of tasks.
const AMONG_ALL: &str = find!(
    "part AS MATERIALIZED (
        SELECT t.id, t.type, t.state, t.queue, t.key, t.created_by, t.accepted_at, t.error
          FROM longhaul.task t WHERE t.id >= $8 AND t.id < $9 AND $13::text IS NULL ORDER BY t.id LIMIT $10
    )",
    "part"
);

/// Walks along the small table of those that failed or were cancelled. Tasks are looked up by an
/// array, so by the key, however large their table is.
const AMONG_UNSUCCESSFUL: &str = find!(
    concat!(
        "listed AS MATERIALIZED (
        SELECT found.task_id AS id FROM unnest($1::text[]::longhaul.task_state[]) AS wanted(state)
         CROSS JOIN LATERAL (SELECT u.task_id FROM longhaul.unsuccessful u WHERE ",
        unsuccessful::fits!(),
        " ORDER BY u.task_id LIMIT $10) AS found
         ORDER BY found.task_id LIMIT $10
    ), part AS MATERIALIZED (
        SELECT t.id, t.type, t.state, t.queue, t.key, t.created_by, t.accepted_at, t.error
          FROM longhaul.task t WHERE t.id = ANY (ARRAY(SELECT l.id FROM listed l)) AND $13::text IS NULL
    )"
    ),
    "listed"
);

/// Walks along those with the tag. Tasks are looked up by an array here, too.
const AMONG_TAGGED: &str = find!(
    "part AS MATERIALIZED (
        SELECT t.id, t.type, t.state, t.queue, t.key, t.created_by, t.accepted_at, t.error
          FROM longhaul.task t
         WHERE t.id = ANY (ARRAY(SELECT g.task_id FROM longhaul.task_tag g
                                  WHERE g.tag = $13 AND g.task_id >= $8 AND g.task_id < $9
                                  ORDER BY g.task_id LIMIT $10))
    )",
    "part"
);

impl TaskFilter {
    /// Whether it leaves only tasks that failed or were cancelled.
    pub(super) fn only_unsuccessful(&self) -> bool {
        !self.states.is_empty() && self.states.iter().all(|state| is_unsuccessful(*state))
    }

    /// Looks at the next `limit` tasks (1 or more) with ids after `after` and below
    /// `below`; of a filter that names no states but `Failed` and `Cancelled`, at the next tasks
    /// that ended so. Ids grow with time, so a walk from zero to an id of this moment looks
    /// at every task that was accepted before.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn find(
        &self,
        executor: impl PgExecutor<'_>,
        after: Uuid,
        below: Uuid,
        limit: i64,
    ) -> sqlx::Result<Found> {
        let next = Uuid::from_u128(after.as_u128().saturating_add(1));
        let from = self.accepted_after.map_or(Uuid::nil(), |at| id_floor(at.timestamp_millis() - SLACK_MS));
        let to = self.accepted_before.map_or(Uuid::max(), |at| id_floor(at.timestamp_millis() + SLACK_MS));
        let states: Vec<&str> = self.states.iter().map(|state| state.name()).collect();
        let statement = match &self.tag {
            Some(_) => AMONG_TAGGED,
            None if self.only_unsuccessful() => AMONG_UNSUCCESSFUL,
            None => AMONG_ALL,
        };
        let (ids, last): (Vec<Uuid>, Option<Uuid>) = sqlx::query_as(statement)
            .bind(states)
            .bind(&self.types)
            .bind(&self.queue)
            .bind(&self.created_by)
            .bind(self.accepted_after)
            .bind(self.accepted_before)
            .bind(&self.error_code)
            .bind(next.max(from))
            .bind(below.min(to))
            .bind(limit)
            .bind(&self.key)
            .bind(self.states.iter().any(|state| !state.is_end()))
            .bind(&self.tag)
            .fetch_one(executor)
            .await?;
        Ok(Found { ids, last })
    }
}
