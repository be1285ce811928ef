//! Lists of tasks for people: newest first, by filter, a page at a time. docs/dashboard.md
//! says why it is done so and what it costs; how many there are is told by [`super::count`].
//!
//! There is no index on what tasks are (adr/0001), so a page comes from one of four
//! places. Open tasks, if there are few, are taken from where they wait and run; those with a
//! tag, and those that failed or were cancelled, from the tables that have them. All others are looked for along the
//! primary key, newest first, for a bounded time: a page that was not filled by then says how
//! far back it has looked.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgExecutor, PgPool};
use uuid::Uuid;

use super::filter::{Range, TaskFilter};
use super::read::{Task, tasks};
use super::stored::{StoredTexts, StoredTimeOption};
use super::unsuccessful::{self, tells};
use crate::State;
use crate::clock::{id_floor, id_ms};

/// A filter of a list. Absent or empty members match all tasks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListFilter {
    /// What they are.
    pub tasks: TaskFilter,
    /// A text: the beginning of an id (with or without its prefix, 4 digits or
    /// more) or its end, or what stands somewhere in the parameters, the message, the error,
    /// the key or who asked for it; case does not matter.
    pub text: Option<String>,
}

/// A task of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The task itself.
    pub task: Task,
    /// More about it.
    pub more: More,
}

/// What lists show besides the task itself.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct More {
    id: Uuid,
    /// Its id as people see it.
    pub public_id: String,
    /// Its queue.
    pub queue: String,
    /// 0 (first) to 9 (last).
    pub priority: i16,
    /// The maximum number of attempts.
    pub max_attempts: i16,
    /// The creator.
    pub created_by: Option<String>,
    /// Its key, see [`crate::TaskType::key`].
    pub key: Option<String>,
    /// The worker that runs it, or ran it last.
    pub worker: Option<String>,
    /// When its last attempt started.
    #[sqlx(try_from = "StoredTimeOption")]
    pub started_at: Option<DateTime<Utc>>,
    /// The error of its last failed attempt.
    pub last_error: Option<String>,
    /// Words by which people find it.
    #[sqlx(try_from = "StoredTexts")]
    pub tags: Vec<String>,
    /// The longest that an attempt may take, in seconds, if that is not what its type says.
    pub timeout_seconds: Option<f64>,
}

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing {
    /// Newest first.
    pub tasks: Vec<Listed>,
    /// Where the next page goes on; `None` if there is nothing older that fits.
    pub next: Option<Uuid>,
    /// If the time was over before the page was full: everything accepted since
    /// about then has been looked at.
    pub looked_back_to: Option<DateTime<Utc>>,
}

/// Tasks that one statement looks at. A page takes as many as its time allows.
const WINDOW: i64 = 10_000;
/// With at most so many open tasks they are looked at themselves.
pub(super) const FEW: i64 = 20_000;
/// See [`super::find`].
const SLACK_MS: i64 = 24 * 3600 * 1000;

/// Conditions on `p`, a row of `task`; `$1` to `$15` by [`bind_filter`].
macro_rules! fits {
    () => {
        "(cardinality($1::text[]) = 0 OR p.type = ANY ($1))
           AND ($2::text IS NULL OR p.queue = $2)
           AND ($3::text IS NULL OR p.key = $3)
           AND ($4::text IS NULL OR p.created_by = $4)
           AND ($5::timestamptz IS NULL OR p.accepted_at >= $5)
           AND ($6::timestamptz IS NULL OR p.accepted_at < $6)
           AND ($7::text IS NULL
                OR coalesce(p.error, (SELECT e.error FROM longhaul.attempt_error e WHERE e.task_id = p.id
                                       ORDER BY e.attempt DESC, e.failed_at DESC LIMIT 1)) ->> 'code' = $7)
           AND ($8::text IS NULL
                OR concat_ws(E'\\n', p.message, p.error ->> 'detail', p.error ->> 'code', p.key, p.created_by,
                             p.parameters::text) ILIKE $8
                OR replace(p.id::text, '-', '') LIKE $14)
           AND CASE WHEN cardinality($9::text[]) = 0 THEN true
                    WHEN p.state IN ('Succeeded', 'Failed', 'Cancelled')
                    THEN p.state = ANY ($9::text[]::longhaul.task_state[])
                    WHEN NOT $10 THEN false
                    ELSE (SELECT v.state = ANY ($9::text[]::longhaul.task_state[]) FROM longhaul.tasks v WHERE v.id = p.id)
                END
           AND ($15::text IS NULL OR p.tags @> ARRAY[$15])
           AND p.id >= $11 AND p.id < $12"
    };
}

/// Between `$11` and `$12`, newest first, `$13` at most.
const WALK: &str = concat!("SELECT p.id FROM longhaul.task p WHERE ", fits!(), " ORDER BY p.id DESC LIMIT $13");

/// The same of those of these tasks, `$16`.
const AMONG: &str = concat!(
    "SELECT p.id FROM longhaul.task p WHERE p.id = ANY ($16::uuid[]) AND ",
    fits!(),
    " ORDER BY p.id DESC LIMIT $13"
);

/// The same of open tasks only, taken from where they wait and run; of each place the first
/// 20,001 are looked at. `$16` to `$18` are the [`Places`].
const OPEN: &str = concat!(
    // By an array, so that tasks are looked up by the key, however large the table is.
    "SELECT p.id FROM longhaul.task p
      WHERE p.id = ANY (ARRAY(
            (SELECT coalesce(r.task_id, r.id) FROM longhaul.ready r WHERE $16 LIMIT 20001)
             UNION (SELECT h.id FROM longhaul.held h WHERE $16 LIMIT 20001)
             UNION (SELECT s.id FROM longhaul.scheduled s WHERE $17 LIMIT 20001)
             UNION (SELECT b.id FROM longhaul.blocked b WHERE $16 LIMIT 20001)
             UNION (SELECT unnest(l.task_ids) FROM longhaul.lease l WHERE $18 LIMIT 20001)
             UNION (SELECT f.parent_id FROM longhaul.family f WHERE $18 AND (f.waiting OR f.stopping) LIMIT 20001)))
        AND p.state NOT IN ('Succeeded', 'Failed', 'Cancelled') AND ",
    fits!(),
    " ORDER BY p.id DESC LIMIT $13"
);

/// How many tasks are in these places, as far as `$1`.
const OPEN_COUNT: &str = "
    SELECT (SELECT count(*) FROM (SELECT FROM longhaul.ready WHERE $2 LIMIT $1) x)
         + (SELECT count(*) FROM (SELECT FROM longhaul.held WHERE $2 LIMIT $1) x)
         + (SELECT count(*) FROM (SELECT FROM longhaul.scheduled WHERE $3 LIMIT $1) x)
         + (SELECT count(*) FROM (SELECT FROM longhaul.blocked WHERE $2 LIMIT $1) x)
         + (SELECT count(*) FROM (SELECT FROM longhaul.lease CROSS JOIN unnest(task_ids) WHERE $4 LIMIT $1) x)
         + (SELECT count(*) FROM (SELECT FROM longhaul.family WHERE $4 AND (waiting OR stopping) LIMIT $1) x)";

/// Those with the tag `$1` between `$2` and `$3`, newest first, `$4` at most.
const TAGGED: &str = "
    SELECT g.task_id FROM longhaul.task_tag g WHERE g.tag = $1 AND g.task_id >= $2 AND g.task_id < $3
     ORDER BY g.task_id DESC LIMIT $4";

/// The `$2`th task below `$1`.
const EDGE: &str = "SELECT id FROM longhaul.task WHERE id < $1 AND id >= $3 ORDER BY id DESC OFFSET $2 - 1 LIMIT 1";

const MORE: &str = "
    SELECT v.id, v.public_id, v.queue, v.priority, v.max_attempts, v.created_by, t.key, v.worker, v.started_at, v.last_error,
           coalesce(v.tags, '{}') AS tags, extract(epoch FROM v.timeout)::float8 AS timeout_seconds
      FROM longhaul.tasks v JOIN longhaul.task t USING (id) WHERE v.id = ANY ($1)";

/// Where tasks in some open states may be: however many wait, those that run are few.
#[derive(Debug, Clone, Copy)]
struct Places {
    /// `ready`, `held`, `blocked`.
    waiting: bool,
    scheduled: bool,
    /// `lease`, and `family` of those that wait for their children.
    running: bool,
}

impl Places {
    fn of(states: &[State]) -> Self {
        let any = |of: &[State]| states.iter().any(|state| of.contains(state));
        Self {
            waiting: any(&[State::Queued, State::Retrying]),
            scheduled: any(&[State::Scheduled, State::Retrying]),
            running: any(&[State::Running]),
        }
    }
}

/// A filter as statements take it.
pub(super) struct Bound<'a> {
    filter: &'a TaskFilter,
    states: Vec<&'static str>,
    pattern: Option<String>,
    /// What the digits of an id may end with, for LIKE.
    ending: Option<String>,
    pub(super) range: Range,
}

macro_rules! bind_filter {
    ($query:expr, $bound:expr, $range:expr, $limit:expr) => {
        $query
            .bind(&$bound.filter.types)
            .bind(&$bound.filter.queue)
            .bind(&$bound.filter.key)
            .bind(&$bound.filter.created_by)
            .bind($bound.filter.accepted_after)
            .bind($bound.filter.accepted_before)
            .bind(&$bound.filter.error_code)
            .bind(&$bound.pattern)
            .bind(&$bound.states)
            .bind($bound.filter.states.iter().any(|state| !state.is_end()))
            .bind($range.from)
            .bind($range.below)
            .bind($limit)
            .bind(&$bound.ending)
            .bind(&$bound.filter.tag)
    };
}

impl ListFilter {
    /// The page that comes after `after` (the newest without), `limit` tasks at most.
    /// Looking ends after about `patience`, whether the page is full or not.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn page(
        &self,
        pool: &PgPool,
        after: Option<Uuid>,
        limit: usize,
        patience: Duration,
    ) -> sqlx::Result<Listing> {
        let by_id = self.look(pool, self.bound(true), after, limit, patience).await?;
        // What looks like an id may as well stand in the parameters.
        if by_id.tasks.is_empty() && by_id.next.is_none() && self.names_an_id() {
            return self.look(pool, self.bound(false), after, limit, patience).await;
        }
        Ok(by_id)
    }

    async fn look(
        &self,
        pool: &PgPool,
        bound: Bound<'_>,
        after: Option<Uuid>,
        limit: usize,
        patience: Duration,
    ) -> sqlx::Result<Listing> {
        let began = Instant::now();
        let Range { from, mut below } = bound.range;
        below = after.map_or(below, |after| after.min(below));
        let wanted = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let (mut ids, mut looked_to): (Vec<Uuid>, Option<Uuid>) = (Vec::new(), None);
        if self.only_open() && self.open_tasks(pool).await? <= FEW {
            ids = self.open(pool, Bound { range: Range { from, below }, ..bound }, wanted).await?;
        } else if self.tasks.tag.is_some() || self.only_unsuccessful() {
            let all_fit = self.tasks.tag.is_none() && bound.pattern.is_none() && tells(&self.tasks);
            let at_once = if all_fit { wanted } else { WINDOW };
            loop {
                let range = Range { from, below };
                let some = match &self.tasks.tag {
                    Some(tag) => tagged(pool, tag, range, at_once).await?,
                    None => unsuccessful::find(pool, &self.tasks, range, at_once).await?,
                };
                let last = some.last().copied().filter(|_| some.len() as i64 == at_once);
                if all_fit {
                    ids = some;
                    break;
                }
                let left = wanted - i64::try_from(ids.len()).unwrap_or(i64::MAX);
                let found: Vec<Uuid> =
                    bind_filter!(sqlx::query_scalar(AMONG), bound, range, left).bind(some).fetch_all(pool).await?;
                ids.extend(found);
                let Some(last) = last.filter(|_| ids.len() <= limit) else { break };
                below = last;
                if began.elapsed() > patience {
                    looked_to = Some(last);
                    break;
                }
            }
        } else {
            loop {
                let edge: Option<Uuid> =
                    sqlx::query_scalar(EDGE).bind(below).bind(WINDOW).bind(from).fetch_optional(pool).await?;
                let range = Range { from: edge.unwrap_or(from), below };
                let left = wanted - i64::try_from(ids.len()).unwrap_or(i64::MAX);
                let found: Vec<Uuid> =
                    bind_filter!(sqlx::query_scalar(WALK), bound, range, left).fetch_all(pool).await?;
                ids.extend(found);
                let Some(edge) = edge else { break };
                if ids.len() > limit {
                    break;
                }
                below = edge;
                if began.elapsed() > patience {
                    looked_to = Some(edge);
                    break;
                }
            }
        }
        let more = ids.len() > limit;
        ids.truncate(limit);
        let next = if more { ids.last().copied() } else { looked_to };
        Ok(Listing {
            tasks: listed(pool, &ids).await?,
            next,
            looked_back_to: looked_to.filter(|_| !more).and_then(|id| DateTime::from_timestamp_millis(id_ms(id))),
        })
    }

    /// How many of the tasks with its tag fit, exactly; `None` if there are more with that tag
    /// than [`FEW`].
    pub(super) async fn count_tagged(&self, pool: &PgPool, tag: &str) -> sqlx::Result<Option<i64>> {
        let bound = self.bound(true);
        let some = tagged(pool, tag, bound.range, FEW + 1).await?;
        if some.len() as i64 > FEW {
            return Ok(None);
        }
        let fit: Vec<Uuid> =
            bind_filter!(sqlx::query_scalar(AMONG), bound, bound.range, FEW).bind(some).fetch_all(pool).await?;
        Ok(i64::try_from(fit.len()).ok())
    }

    /// The newest open tasks that fit, `limit` at most. Of very many open tasks some of each
    /// place are looked at only.
    pub(super) async fn open(
        &self,
        executor: impl PgExecutor<'_>,
        mut bound: Bound<'_>,
        limit: i64,
    ) -> sqlx::Result<Vec<Uuid>> {
        if State::ALL.iter().all(|state| state.is_end() || self.tasks.states.contains(state)) {
            // Then it does not matter which of them a task is in, which is looked up in several tables.
            bound.states.clear();
        }
        let places = Places::of(&self.tasks.states);
        bind_filter!(sqlx::query_scalar(OPEN), bound, bound.range, limit)
            .bind(places.waiting)
            .bind(places.scheduled)
            .bind(places.running)
            .fetch_all(executor)
            .await
    }

    /// How many tasks are in the places of the open ones among its states, up to so many of
    /// each that they are no [`FEW`].
    pub(super) async fn open_tasks(&self, executor: impl PgExecutor<'_>) -> sqlx::Result<i64> {
        let places = Places::of(&self.tasks.states);
        sqlx::query_scalar(OPEN_COUNT)
            .bind(FEW + 1)
            .bind(places.waiting)
            .bind(places.scheduled)
            .bind(places.running)
            .fetch_one(executor)
            .await
    }

    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_deref().map(str::trim).filter(|text| !text.is_empty())
    }

    fn names_an_id(&self) -> bool {
        self.text().and_then(ids_that_begin_with).is_some()
    }

    pub(super) fn bound(&self, by_id: bool) -> Bound<'_> {
        let filter = &self.tasks;
        let mut range = Range {
            from: filter.accepted_after.map_or(Uuid::nil(), |at| id_floor(at.timestamp_millis() - SLACK_MS)),
            below: filter.accepted_before.map_or(Uuid::max(), |at| id_floor(at.timestamp_millis() + SLACK_MS)),
        };
        let text = self.text();
        let (mut pattern, mut ending) = (None, None);
        if let Some((first, last)) = text.filter(|_| by_id).and_then(ids_that_begin_with) {
            range.from = range.from.max(first);
            // `below` is no part of the range; nothing is made with the very last id.
            range.below = range.below.min(Uuid::from_u128(last.as_u128().saturating_add(1)));
        } else if let Some(text) = text {
            pattern = Some(format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")));
            ending = id_ending(text).map(|digits| format!("%{digits}"));
        }
        Bound { filter, states: filter.states.iter().map(|state| state.name()).collect(), pattern, ending, range }
    }
}

/// The tasks of the range with this tag, newest first, `limit` at most.
async fn tagged(pool: &PgPool, tag: &str, range: Range, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(TAGGED).bind(tag).bind(range.from).bind(range.below).bind(limit).fetch_all(pool).await
}

/// The first and the last guid that begin so. A prefix before it, up to the last `-`
/// or `_`, is passed over.
fn ids_that_begin_with(text: &str) -> Option<(Uuid, Uuid)> {
    let hex = |text: &str| -> Option<(Uuid, Uuid)> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let shaped = text.char_indices().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        });
        if !shaped || !(4..=32).contains(&digits.len()) || !digits.bytes().any(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let first = u128::from_str_radix(&format!("{digits:0<32}"), 16).ok()?;
        let last = u128::from_str_radix(&format!("{digits:f<32}"), 16).ok()?;
        Some((Uuid::from_u128(first), Uuid::from_u128(last)))
    };
    hex(text).or_else(|| {
        // A prefix may have hyphens itself, so each place is tried.
        text.match_indices(['-', '_']).find_map(|(at, _)| hex(&text[at + 1..]))
    })
}

/// The digits that an id ends with, as lists show them, e.g. `…a2939851`: four or more.
fn id_ending(text: &str) -> Option<String> {
    let end = text.rsplit('…').next().unwrap_or_default().trim();
    let digits: String = end.chars().filter(|c| *c != '-').collect::<String>().to_ascii_lowercase();
    ((4..=32).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

/// These tasks, in this order; those that are gone meanwhile are left out.
///
/// # Errors
/// If the database does not answer.
pub async fn listed(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<Listed>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = tasks(pool, ids).await?;
    let mut more: Vec<More> = sqlx::query_as(MORE).bind(ids).fetch_all(pool).await?;
    let place = |id: Uuid| ids.iter().position(|wanted| *wanted == id);
    found.sort_by_key(|task| place(task.id));
    more.sort_by_key(|more| place(more.id));
    let mut more = more.into_iter().peekable();
    Ok(found
        .into_iter()
        .filter_map(|task| {
            while more.next_if(|more| place(more.id) < place(task.id)).is_some() {}
            more.next_if(|more| more.id == task.id).map(|more| Listed { task, more })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::{id_ending, ids_that_begin_with};

    #[test]
    fn the_beginning_of_an_id_is_known_with_and_without_its_prefix() {
        let whole = "reindex-7bdba522-590a-4df4-b409-a2939851241b";
        for text in [whole, &whole[8..], "7bdba522-59", "reindex-7bdb", "bulk-action_7bdba522-"] {
            let (first, last) = ids_that_begin_with(text).unwrap_or_else(|| panic!("{text}"));
            assert!(first <= last && first.to_string().starts_with("7bdb"), "{text}");
        }
        let (first, last) = ids_that_begin_with(&whole[8..]).expect("an id");
        assert_eq!(first, last);
    }

    #[test]
    fn the_end_of_an_id_is_known_as_lists_show_it() {
        for text in ["a2939851", "…a2939851", "Reindex …A2939851", "b409-a2939851241b"] {
            assert!(id_ending(text).is_some_and(|digits| digits.contains("a2939851")), "{text}");
        }
        for text in ["", "…", "abc", "…a29z", "connection refused"] {
            assert_eq!(id_ending(text), None, "{text}");
        }
    }

    #[test]
    fn words_are_no_ids() {
        for text in ["", "abc", "decade", "7bdba5225", "connection refused", "7bdba522-590a-4df4-b409-a2939851241b0"] {
            assert_eq!(ids_that_begin_with(text), None, "{text}");
        }
    }
}
