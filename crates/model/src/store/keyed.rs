//! Storing tasks of which there may be only one.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::enqueue::{NewTask, enqueue};

/// A client's name for one request, which it may repeat (`Idempotency-Key`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// As the client sent it.
    pub key: String,
    /// What was asked for, in a canonical form: the same key with another request
    /// is a mistake.
    pub request: String,
}

/// What became of a task with keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stored {
    /// It is stored.
    New(DateTime<Utc>),
    /// Another one with its idempotency key or unique key is there already.
    Existing(Uuid),
    /// The idempotency key was used for another request.
    KeyReused,
}

/// How long an idempotency key is remembered.
const REMEMBERED_HOURS: f64 = 24.0;

/// A key whose time is over is free.
const TAKE_KEY: &str = "
    INSERT INTO longhaul.task_key AS known (key, task_id, fingerprint, expires_at)
    VALUES ($1, $2, sha256(convert_to($3, 'UTF8')), now() + $4 * interval '1 hour')
    ON CONFLICT (key) DO UPDATE
       SET task_id = excluded.task_id, fingerprint = excluded.fingerprint, expires_at = excluded.expires_at
     WHERE known.expires_at <= now()
    RETURNING true";

const FIND_KEY: &str = "
    SELECT k.task_id, k.fingerprint IS NOT DISTINCT FROM sha256(convert_to($2, 'UTF8'))
      FROM longhaul.task_key k WHERE k.key = $1 AND (k.expires_at IS NULL OR k.expires_at > now())";

fn idempotency(key: &IdempotencyKey) -> String {
    format!("i:{}", key.key)
}

/// What a repeated request with this key is answered with, if it was made before.
///
/// # Errors
/// When the database does not answer.
pub async fn find(pool: &PgPool, key: &IdempotencyKey) -> sqlx::Result<Option<Stored>> {
    let found: Option<(Uuid, bool)> =
        sqlx::query_as(FIND_KEY).bind(idempotency(key)).bind(&key.request).fetch_optional(pool).await?;
    Ok(found.map(|(id, same)| if same { Stored::Existing(id) } else { Stored::KeyReused }))
}

/// Stores a task unless another with its idempotency key or unique key is there;
/// concurrent requests with the same key wait for each other.
///
/// # Errors
/// When the database does not answer; nothing is stored then.
pub async fn enqueue_keyed(pool: &PgPool, task: &NewTask, key: Option<&IdempotencyKey>) -> sqlx::Result<Stored> {
    let mut transaction = pool.begin().await?;
    if let Some(key) = key {
        let name = idempotency(key);
        if !take(&mut transaction, &name, task.id, &key.request).await? {
            transaction.rollback().await?;
            // Committed by now: `take` waited for it.
            return Ok(find(pool, key).await?.unwrap_or(Stored::KeyReused));
        }
    }
    let stored = enqueue_unique(&mut transaction, task).await?;
    if let (Some(key), Stored::Existing(existing)) = (key, &stored) {
        sqlx::query("UPDATE longhaul.task_key SET task_id = $2 WHERE key = $1")
            .bind(idempotency(key))
            .bind(existing)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(stored)
}

/// Stores a task in the caller's transaction unless another with its unique key is
/// there: then that one's id is told, and nothing is stored. Whoever asks for the same
/// key meanwhile waits for the end of the transaction.
///
/// # Errors
/// When the database does not answer.
pub async fn enqueue_unique(transaction: &mut Transaction<'_, Postgres>, task: &NewTask) -> sqlx::Result<Stored> {
    if let Some(unique) = &task.unique_key
        && let Some(other) = take_unique(transaction, unique, task).await?
    {
        return Ok(Stored::Existing(other));
    }
    let accepted_at = enqueue(&mut **transaction, std::slice::from_ref(task)).await?;
    Ok(Stored::New(accepted_at))
}

/// Stores many tasks, all or none, but for those whose unique key another one has:
/// instead of each of these, the id of that one is returned in its place.
///
/// # Errors
/// When the database does not answer; nothing is stored then.
pub async fn enqueue_all(pool: &PgPool, tasks: &[NewTask]) -> sqlx::Result<(DateTime<Utc>, Vec<Option<Uuid>>)> {
    let mut keyed: Vec<(usize, &NewTask, &str)> = tasks
        .iter()
        .enumerate()
        .filter_map(|(number, task)| Some((number, task, task.unique_key.as_deref()?)))
        .collect();
    // In one order everywhere, so that two batches can't wait for each other.
    keyed.sort_by_key(|(_, _, key)| *key);
    let mut existing = vec![None; tasks.len()];
    let mut transaction = pool.begin().await?;
    for (number, task, key) in keyed {
        existing[number] = take_unique(&mut transaction, key, task).await?;
    }
    let fresh: Vec<NewTask> =
        tasks.iter().zip(&existing).filter(|(_, other)| other.is_none()).map(|(task, _)| task.clone()).collect();
    let accepted_at = enqueue(&mut *transaction, &fresh).await?;
    transaction.commit().await?;
    Ok((accepted_at, existing))
}

/// Takes a unique key for a task (`longhaul.take_key`), or tells whose it is.
async fn take_unique(transaction: &mut PgConnection, key: &str, task: &NewTask) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar("SELECT longhaul.take_key($1, $2, $3)")
        .bind(key)
        .bind(task.id)
        .bind(task.info.unique_for.map(|period| period.as_secs_f64()))
        .fetch_one(transaction)
        .await
}

/// Takes an idempotency key for a task unless another has it. Waits for a transaction
/// that is taking it.
async fn take(transaction: &mut PgConnection, key: &str, task_id: Uuid, request: &str) -> sqlx::Result<bool> {
    let taken: Option<bool> = sqlx::query_scalar(TAKE_KEY)
        .bind(key)
        .bind(task_id)
        .bind(request)
        .bind(REMEMBERED_HOURS)
        .fetch_optional(transaction)
        .await?;
    Ok(taken.is_some())
}
