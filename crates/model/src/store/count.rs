//! The number of tasks that match a filter: counted if small tables have them, else estimated.

use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::filter::TaskFilter;
use super::list::{FEW, ListFilter};
use super::successes;
use super::unsuccessful::{self, is_unsuccessful, tells};
use crate::State;

/// The exact or estimated number of matching tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub tasks: i64,
    /// Whether they were counted, not estimated.
    pub exact: bool,
}

/// A lower bound of the number of matching tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtLeast {
    /// So many were counted.
    pub tasks: i64,
    /// There may be more of them; else these are all.
    pub more: bool,
}

/// What of open tasks beyond [`FEW`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MoreOpen {
    /// Then nothing is counted.
    AreNotCounted,
    /// What is counted is a lower bound.
    AreLeftOut,
}

/// What the planner expects, from what ANALYZE has seen, and of a table that it has not seen
/// from its size. A bound that bounds nothing is left out: without statistics the planner
/// takes it for a narrow one. States are one text, whose cast the planner reads; cast from an
/// array of texts they would be unknown to it.
const ESTIMATE: &str = "
    EXPLAIN (FORMAT JSON) SELECT FROM longhaul.task p
     WHERE (cardinality($1::text[]) = 0 OR p.type = ANY ($1))
       AND ($2::text IS NULL OR p.queue = $2)
       AND ($3::text IS NULL OR p.key = $3)
       AND ($4::text IS NULL OR p.created_by = $4)
       AND ($5::timestamptz IS NULL OR p.accepted_at >= $5)
       AND ($6::timestamptz IS NULL OR p.accepted_at < $6)
       AND ($7::text = '{}' OR p.state = ANY ($7::text::longhaul.task_state[]))
       AND ($8::uuid = '00000000-0000-0000-0000-000000000000' OR p.id >= $8)
       AND ($9::uuid = 'ffffffff-ffff-ffff-ffff-ffffffffffff' OR p.id < $9)";

impl ListFilter {
    /// Returns the number of matching tasks; `None` if it is unknown without reading them. It is
    /// exact for failed and cancelled tasks, for open tasks if they are few, and for succeeded ones
    /// if only states are asked for and their number is known ([`successes::exact`]); else an estimate.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn count(&self, pool: &PgPool) -> sqlx::Result<Option<Count>> {
        if let Some(AtLeast { tasks, more: false }) = self.count_at_once(pool, MoreOpen::AreNotCounted).await? {
            return Ok(Some(Count { tasks, exact: true }));
        }
        if let Some(tag) = &self.tasks.tag {
            return Ok(self.count_tagged(pool, tag).await?.map(|tasks| Count { tasks, exact: true }));
        }
        if self.text().is_some() || self.tasks.error_code.is_some() {
            return Ok(None);
        }
        let bound = self.bound(true);
        let counted = match self.unsuccessful() {
            Some(part) if !self.tasks.states.is_empty() && tells(&part.tasks) => {
                Some(unsuccessful::count(pool, &part.tasks, bound.range).await?)
            }
            _ => None,
        };
        let estimated = self.tasks.states.iter().filter(|state| counted.is_none() || !is_unsuccessful(**state));
        let plan: Value = sqlx::query_scalar(ESTIMATE)
            .bind(&self.tasks.types)
            .bind(&self.tasks.queue)
            .bind(&self.tasks.key)
            .bind(&self.tasks.created_by)
            .bind(self.tasks.accepted_after)
            .bind(self.tasks.accepted_before)
            .bind(format!("{{{}}}", estimated.map(|state| state.name()).collect::<Vec<_>>().join(",")))
            .bind(bound.range.from)
            .bind(bound.range.below)
            .fetch_one(pool)
            .await?;
        let rows = plan.pointer("/0/Plan/Plan Rows").and_then(Value::as_f64).unwrap_or(0.0);
        Ok(Some(Count { tasks: rows as i64 + counted.unwrap_or(0), exact: false }))
    }

    /// How many tasks fit at least, without an estimate. `None` if the filter has a text, or
    /// leaves tasks that succeeded and whose number is not known: those would have to be looked at
    /// one by one.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn count_for_sure(&self, pool: &PgPool) -> sqlx::Result<Option<AtLeast>> {
        self.count_at_once(pool, MoreOpen::AreLeftOut).await
    }

    /// Counts all states at the same moment: a task that goes from one to another is counted once.
    async fn count_at_once(&self, pool: &PgPool, more_open: MoreOpen) -> sqlx::Result<Option<AtLeast>> {
        if self.text().is_some() || self.leaves(State::Succeeded) && !self.asks_for_states_only() {
            return Ok(None);
        }
        let mut moment = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let mut count = AtLeast { tasks: 0, more: false };
        if self.leaves(State::Succeeded) {
            let Some(tasks) = successes::exact(&mut *moment).await? else { return Ok(None) };
            count.tasks += tasks;
        }
        if let Some(part) = self.unsuccessful() {
            if !tells(&part.tasks) {
                return Ok(None);
            }
            count.tasks += unsuccessful::count(&mut *moment, &part.tasks, part.bound(true).range).await?;
        }
        let open = self.of_states(|state| !state.is_end());
        if !open.tasks.states.is_empty() {
            count.more = open.open_tasks(&mut *moment).await? > FEW;
            if count.more && more_open == MoreOpen::AreNotCounted {
                return Ok(None);
            }
            let ids: Vec<Uuid> = open.open(&mut *moment, open.bound(true), FEW).await?;
            count.tasks += i64::try_from(ids.len()).unwrap_or(i64::MAX);
        }
        moment.commit().await?;
        Ok(Some(count))
    }

    /// The same of those of its states only that are ends without success, if it has any.
    pub(super) fn unsuccessful(&self) -> Option<Self> {
        Some(self.of_states(is_unsuccessful)).filter(|part| !part.tasks.states.is_empty())
    }

    /// No state stands for every one.
    fn of_states(&self, wanted: impl Fn(State) -> bool) -> Self {
        let mut part = self.clone();
        part.tasks.states = State::ALL.into_iter().filter(|state| self.leaves(*state) && wanted(*state)).collect();
        part
    }

    fn leaves(&self, state: State) -> bool {
        self.tasks.states.is_empty() || self.tasks.states.contains(&state)
    }

    fn asks_for_states_only(&self) -> bool {
        let states_only = TaskFilter { states: self.tasks.states.clone(), ..TaskFilter::default() };
        self.text().is_none() && self.tasks == states_only
    }

    /// Whether it leaves open tasks only.
    pub(super) fn only_open(&self) -> bool {
        !self.tasks.states.is_empty() && self.tasks.states.iter().all(|state| !state.is_end())
    }

    /// Whether it leaves only tasks that failed or were cancelled.
    pub(super) fn only_unsuccessful(&self) -> bool {
        self.tasks.only_unsuccessful()
    }
}
