//! Finding tasks by what they are, a window of the table at a time.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::State;
use crate::clock::id_floor;

/// Which tasks. What is absent or empty does not narrow it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskFilter {
    /// Names of their types.
    pub types: Vec<String>,
    /// Their states, as people see them (running is seen at once).
    pub states: Vec<State>,
    /// Their queue.
    pub queue: Option<String>,
    /// Whose they are, see [`crate::TaskType::key`].
    pub key: Option<String>,
    /// Who asked for them.
    pub created_by: Option<String>,
    /// Accepted then or later.
    pub accepted_after: Option<DateTime<Utc>>,
    /// Accepted before then.
    pub accepted_before: Option<DateTime<Utc>>,
    /// The `code` of why they failed, or why their last attempt did.
    pub error_code: Option<String>,
}

/// What one look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Tasks that fit, in the order of their ids.
    pub ids: Vec<Uuid>,
    /// The last task that was looked at: go on after it. `None`: there was none left.
    pub last: Option<Uuid>,
}

/// An id carries the time when it was made, which may be earlier than `accepted_at`
/// (by a long transaction) or later; by no more than this.
const SLACK_MS: i64 = 24 * 3600 * 1000;

/// The stored state decides first, since it costs nothing; the view's, which looks
/// where a task waits, only for what is left.
const FIND: &str = "
    WITH part AS MATERIALIZED (
        SELECT t.id, t.type, t.state, t.queue, t.key, t.created_by, t.accepted_at, t.error
          FROM longhaul.task t WHERE t.id > $1 AND t.id < $2 ORDER BY t.id LIMIT $3
    ), fitting AS (
        SELECT p.id FROM part p
         WHERE (cardinality($4::text[]) = 0 OR p.type = ANY ($4))
           AND ($5::text IS NULL OR p.queue = $5)
           AND ($6::text IS NULL OR p.key = $6)
           AND ($7::text IS NULL OR p.created_by = $7)
           AND ($8::timestamptz IS NULL OR p.accepted_at >= $8)
           AND ($9::timestamptz IS NULL OR p.accepted_at < $9)
           AND CASE WHEN cardinality($10::text[]) = 0 THEN true
                    WHEN p.state IN ('Succeeded', 'Failed', 'Cancelled') THEN p.state::text = ANY ($10)
                    WHEN NOT $11 THEN false
                    ELSE (SELECT v.state::text = ANY ($10) FROM longhaul.tasks v WHERE v.id = p.id) END
           AND ($12::text IS NULL
                OR coalesce(p.error, (SELECT e.error FROM longhaul.attempt_error e WHERE e.task_id = p.id
                                       ORDER BY e.attempt DESC, e.failed_at DESC LIMIT 1)) ->> 'code' = $12)
    )
    SELECT coalesce((SELECT array_agg(id ORDER BY id) FROM fitting), '{}'),
           (SELECT id FROM part ORDER BY id DESC LIMIT 1)";

impl TaskFilter {
    /// Looks at the next `limit` tasks (1 or more) with ids after `after` and below
    /// `below`. Ids grow with time, so a walk from zero to an id of this moment looks
    /// at every task that was accepted before.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn find(
        &self,
        executor: impl PgExecutor<'_>,
        after: Uuid,
        below: Uuid,
        limit: i64,
    ) -> sqlx::Result<Found> {
        let from = self.accepted_after.map_or(Uuid::nil(), |at| id_floor(at.timestamp_millis() - SLACK_MS));
        let to = self.accepted_before.map_or(Uuid::max(), |at| id_floor(at.timestamp_millis() + SLACK_MS));
        let states: Vec<&str> = self.states.iter().map(|state| state.name()).collect();
        let (ids, last): (Vec<Uuid>, Option<Uuid>) = sqlx::query_as(FIND)
            .bind(after.max(from))
            .bind(below.min(to))
            .bind(limit)
            .bind(&self.types)
            .bind(&self.queue)
            .bind(&self.key)
            .bind(&self.created_by)
            .bind(self.accepted_after)
            .bind(self.accepted_before)
            .bind(states)
            .bind(self.states.iter().any(|state| !state.is_end()))
            .bind(&self.error_code)
            .fetch_one(executor)
            .await?;
        Ok(Found { ids, last })
    }
}
