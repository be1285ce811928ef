//! Rows that a maintenance service can't process: found by halving the batch that the
//! database refused, set aside with the database's error, and tried again later
//! (docs/architecture.md, "Rows that can't be processed").

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgExecutor, PgPool};

use super::failure::Failure;
use super::stored::StoredTime;
use super::whole_micros;
use crate::bounded_text;

/// Rows that one run sets aside at most; the next run finds more.
const AT_ONCE: usize = 100;
/// If the first so many rows all meet a defect, it is not the rows' fault.
const DEFECTS: usize = 8;
/// Bytes of the database's error that are kept.
const ERROR_BYTES: usize = 1_000;
/// The first wait before a row is tried again; each further one is twice as long …
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// For so long nobody else tries a row that one process tries.
const TURN: Duration = Duration::from_secs(60);

/// What became of a batch that was processed by halves.
#[derive(Debug)]
struct Halved<I, T> {
    /// What was processed, with what that returned.
    done: Vec<(Vec<I>, T)>,
    /// What could not be.
    refused: Vec<(I, sqlx::Error)>,
}

/// Processes a batch; if the database refuses it, each half of it, and so on, down to the
/// rows that are at fault.
async fn by_halves<I, T, F>(batch: Vec<I>, process: impl Fn(Vec<I>) -> F) -> sqlx::Result<Halved<I, T>>
where
    I: Clone,
    F: Future<Output = sqlx::Result<T>>,
{
    let mut halved = Halved { done: Vec::new(), refused: Vec::new() };
    let mut parts = vec![batch];
    while let Some(mut part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        match process(part.clone()).await {
            Ok(done) => halved.done.push((part, done)),
            Err(error) if Failure::of(&error) == Failure::Passing => return Err(error),
            Err(_) if part.len() > 1 => {
                let second = part.split_off(part.len() / 2);
                parts.extend([second, part]);
            }
            Err(error) => halved.refused.extend(part.pop().map(|row| (row, error))),
        }
        if halved.blames_no_row(parts.is_empty())
            && let Some((_, error)) = halved.refused.pop()
        {
            return Err(error);
        }
        if halved.refused.len() >= AT_ONCE {
            break;
        }
    }
    Ok(halved)
}

impl<I, T> Halved<I, T> {
    /// A missing right or table fails for every row.
    fn blames_no_row(&self, at_end: bool) -> bool {
        self.done.is_empty()
            && (at_end || self.refused.len() >= DEFECTS)
            && self.refused.iter().all(|(_, error)| Failure::of(error) == Failure::Defect)
    }
}

/// Processes a batch of this service (or part of one, e.g. `follower/ends`) by halves:
/// rows that the database refuses are set aside, rows that were set aside and are
/// processed now are so no longer. Returns what `process` returned for each part of the
/// batch, and how many rows were set aside.
///
/// # Errors
/// If the database does not answer, or all rows meet the same defect, which is not theirs then.
/// Some parts may have been processed.
pub async fn process_apart<I, T, F>(
    pool: &PgPool,
    service: &str,
    batch: Vec<I>,
    process: impl Fn(Vec<I>) -> F,
) -> sqlx::Result<(Vec<T>, usize)>
where
    I: Clone + ToString,
    F: Future<Output = sqlx::Result<T>>,
{
    process_and_note(pool, service, batch, process, false).await
}

/// The same with rows that were set aside and are [`due`]: those that are refused again
/// wait for longer.
///
/// # Errors
/// As [`process_apart`].
pub async fn process_again<T, F>(
    pool: &PgPool,
    service: &str,
    rows: Vec<String>,
    process: impl Fn(Vec<String>) -> F,
) -> sqlx::Result<()>
where
    F: Future<Output = sqlx::Result<T>>,
{
    process_and_note(pool, service, rows, process, true).await.map(|_processed| ())
}

async fn process_and_note<I, T, F>(
    pool: &PgPool,
    service: &str,
    batch: Vec<I>,
    process: impl Fn(Vec<I>) -> F,
    again: bool,
) -> sqlx::Result<(Vec<T>, usize)>
where
    I: Clone + ToString,
    F: Future<Output = sqlx::Result<T>>,
{
    if batch.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let Halved { done, refused } = by_halves(batch, process).await?;
    let freed = done.iter().flat_map(|(ids, _)| ids).map(I::to_string).collect();
    let refused: Vec<(String, String)> =
        refused.into_iter().map(|(id, error)| (id.to_string(), bounded_text(error.to_string(), ERROR_BYTES))).collect();
    for (id, error) in &refused {
        tracing::error!(service, id, error, "a row can't be processed; it was set aside and will be retried later");
    }
    note(pool, service, freed, &refused, again).await?;
    Ok((done.into_iter().map(|(_, done)| done).collect(), refused.len()))
}

/// Several processes may find the same row at once; only tries of what is due count.
async fn note(
    pool: &PgPool,
    service: &str,
    freed: Vec<String>,
    refused: &[(String, String)],
    again: bool,
) -> sqlx::Result<()> {
    sqlx::query(
        "WITH freed AS (
             DELETE FROM longhaul.set_aside WHERE service = $1 AND id = ANY ($2)
         )
         INSERT INTO longhaul.set_aside AS a (service, id, error, next_at)
         SELECT $1, r.id, r.error, now() + $5 * interval '1 microsecond'
           FROM unnest($3::text[], $4::text[]) AS r(id, error)
         ON CONFLICT (id, service) DO UPDATE
            SET error = excluded.error, tries = least(a.tries, 2147483646) + 1,
                next_at = now() + least($5 * power(2, least(a.tries, 30)), $6) * interval '1 microsecond'
          WHERE $7",
    )
    .bind(service)
    .bind(freed)
    .bind(refused.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>())
    .bind(refused.iter().map(|(_, error)| error.as_str()).collect::<Vec<_>>())
    .bind(whole_micros(FIRST_WAIT))
    .bind(whole_micros(LONGEST_WAIT))
    .bind(again)
    .execute(pool)
    .await?;
    Ok(())
}

/// Rows of these services that are to be tried again now, each with its service. For a
/// minute they are this process's.
///
/// # Errors
/// If the database does not answer.
pub async fn due(executor: impl PgExecutor<'_>, services: &[&str]) -> sqlx::Result<Vec<(String, String)>> {
    sqlx::query_as(
        "UPDATE longhaul.set_aside a SET next_at = now() + $2 * interval '1 microsecond'
           FROM (SELECT service, id FROM longhaul.set_aside WHERE service = ANY ($1) AND next_at <= now()
                  ORDER BY next_at LIMIT $3 FOR UPDATE SKIP LOCKED) AS due
          WHERE a.id = due.id AND a.service = due.service
         RETURNING a.service, a.id",
    )
    .bind(services)
    .bind(whole_micros(TURN))
    .bind(i64::try_from(AT_ONCE).unwrap_or(i64::MAX))
    .fetch_all(executor)
    .await
}

/// A row that a service could not process.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct SetAside {
    /// The service, and the part of its work.
    pub service: String,
    /// A task's guid, a queue's or schedule's name.
    pub id: String,
    /// The task's id as people see it, if it is one.
    pub public_id: Option<String>,
    /// What the database said last.
    pub error: String,
    /// When it was set aside.
    #[sqlx(try_from = "StoredTime")]
    pub since: DateTime<Utc>,
    /// How often it was tried.
    pub tries: i32,
    /// When it is tried again.
    #[sqlx(try_from = "StoredTime")]
    pub next_at: DateTime<Utc>,
}

/// Rows that are set aside, the oldest first, at most `limit`
///
/// # Errors
/// If the database does not answer.
pub async fn list(executor: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<SetAside>> {
    sqlx::query_as(
        "SELECT service, id, public_id, error, since, tries, next_at
           FROM longhaul.set_aside_tasks ORDER BY since, service, id LIMIT $1",
    )
    .bind(limit)
    .fetch_all(executor)
    .await
}

/// How many tasks (or queues and schedules) are set aside.
///
/// # Errors
/// If the database does not answer.
pub async fn count(executor: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(DISTINCT id) FROM longhaul.set_aside_tasks").fetch_one(executor).await
}

#[cfg(test)]
mod tests {
    use super::by_halves;

    fn refusal() -> sqlx::Error {
        sqlx::Error::Decode("refused".into())
    }

    #[tokio::test]
    async fn halving_finds_the_rows_at_fault_and_processes_all_others() {
        let process = |part: Vec<u32>| async move {
            if part.iter().any(|row| [3, 70, 71].contains(row)) { Err(refusal()) } else { Ok(part.len()) }
        };
        let halved = by_halves((0..1000).collect(), process).await.expect("it passes");
        let mut refused: Vec<u32> = halved.refused.iter().map(|(row, _)| *row).collect();
        refused.sort_unstable();
        assert_eq!(refused, [3, 70, 71]);
        assert_eq!(halved.done.iter().map(|(_, rows)| rows).sum::<usize>(), 997);
        assert!(halved.done.len() < 50, "{} statements", halved.done.len());
    }

    #[tokio::test]
    async fn what_fails_for_every_row_is_no_rows_fault() {
        let defect = |_: Vec<u32>| async { Err::<(), _>(sqlx::Error::RowNotFound) };
        assert!(by_halves((0..1000).collect(), defect).await.is_err());
        let passing = |_: Vec<u32>| async { Err::<(), _>(sqlx::Error::PoolTimedOut) };
        assert!(by_halves(vec![1], passing).await.is_err());
        let refused = by_halves(vec![1], |_: Vec<u32>| async { Err::<(), _>(refusal()) }).await.expect("set aside");
        assert_eq!(refused.refused.len(), 1);
    }
}
