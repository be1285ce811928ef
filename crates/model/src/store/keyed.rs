//! Storing tasks with idempotency keys and unique keys.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::audit::{self, AuditEntry};
use super::enqueue::{NewTask, enqueue};
use super::linked::{Dependency, IfChildFailed, LinkError, begin_batch, enqueue_linked, not_of};
use crate::limits::STORED_KEY_BYTES;

/// A client's name for one request, which it may repeat (`Idempotency-Key`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// As the client sent it.
    pub key: String,
    /// The request in a canonical form: the same key with another request is an error.
    pub request: String,
}

/// The outcome of storing a task with keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stored {
    /// It was stored.
    New(DateTime<Utc>),
    /// A task with its idempotency key or unique key exists already.
    Existing(Uuid),
    /// The idempotency key was used for another request.
    KeyReused,
}

/// How long an idempotency key is remembered.
const REMEMBERED_HOURS: f64 = 24.0;

/// An expired key is free.
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
    let stored = format!("i:{}", key.key);
    if stored.len() <= STORED_KEY_BYTES {
        return stored;
    }
    // A caller with a very long name; an index entry holds less than that.
    format!("i:{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, stored.as_bytes()))
}

/// Returns the task of an earlier request with this key, if there was one.
///
/// # Errors
/// If the database does not answer.
pub async fn find(pool: &PgPool, key: &IdempotencyKey) -> sqlx::Result<Option<Stored>> {
    let found: Option<(Uuid, bool)> =
        sqlx::query_as(FIND_KEY).bind(idempotency(key)).bind(&key.request).fetch_optional(pool).await?;
    Ok(found.map(|(id, same)| if same { Stored::Existing(id) } else { Stored::KeyReused }))
}

/// Whether a key of this task still excludes other tasks, even if the task itself has been deleted.
///
/// # Errors
/// If the database does not answer.
pub async fn is_kept(pool: &PgPool, task_id: Uuid) -> sqlx::Result<bool> {
    // Asked only in a case that is rare: it reads all keys.
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM longhaul.task_key k WHERE k.task_id = $1 AND k.expires_at > now())")
        .bind(task_id)
        .fetch_one(pool)
        .await
}

/// Stores a task unless one with its idempotency key or unique key exists. Concurrent requests with
/// the same key wait for each other.
///
/// The task may have dependencies; an existing task gets no further ones.
///
/// # Errors
/// If the database does not answer, or a dependency does not exist. Then nothing is stored.
pub async fn enqueue_keyed(
    pool: &PgPool,
    task: &NewTask,
    dependencies: &[Dependency],
    key: Option<&IdempotencyKey>,
) -> Result<Stored, LinkError> {
    enqueue_keyed_as(pool, task, dependencies, key, None).await
}

/// The same, with an audit entry if the task is stored.
///
/// # Errors
/// As [`enqueue_keyed`].
pub async fn enqueue_keyed_as(
    pool: &PgPool,
    task: &NewTask,
    dependencies: &[Dependency],
    key: Option<&IdempotencyKey>,
    deed: Option<&AuditEntry>,
) -> Result<Stored, LinkError> {
    let mut transaction = pool.begin().await?;
    if let Some(key) = key {
        let name = idempotency(key);
        if !take(&mut transaction, &name, task.id, &key.request).await? {
            transaction.rollback().await?;
            // Committed by now: `take` waited for it.
            return Ok(find(pool, key).await?.unwrap_or(Stored::KeyReused));
        }
    }
    let stored = store_unique(&mut transaction, task, dependencies).await?;
    if let (Some(deed), Stored::New(_)) = (deed, &stored) {
        audit::record(&mut *transaction, std::slice::from_ref(deed)).await?;
    }
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

/// Stores a task in the caller's transaction unless one with its unique key exists: then it returns
/// that task's id and stores nothing. Other transactions with the same key wait for the end of this
/// one.
///
/// # Errors
/// If the database does not answer.
pub async fn enqueue_unique(transaction: &mut Transaction<'_, Postgres>, task: &NewTask) -> sqlx::Result<Stored> {
    store_unique(transaction, task, &[]).await.map_err(|error| match error {
        LinkError::Database(error) => error,
        // Nothing waits for nothing in a circle.
        other => sqlx::Error::Encode(Box::new(other)),
    })
}

async fn store_unique(
    transaction: &mut Transaction<'_, Postgres>,
    task: &NewTask,
    dependencies: &[Dependency],
) -> Result<Stored, LinkError> {
    if let Some(unique) = &task.unique_key
        && let Some(other) = take_unique(transaction, unique, task).await?
    {
        return Ok(Stored::Existing(other));
    }
    let tasks = std::slice::from_ref(task);
    let accepted_at = if dependencies.is_empty() {
        enqueue(&mut **transaction, tasks).await?
    } else {
        enqueue_linked(&mut *transaction, tasks, dependencies, None).await?
    };
    Ok(Stored::New(accepted_at))
}

/// Tasks that are stored in one transaction.
#[derive(Debug, Clone, Default)]
pub struct Together {
    /// The tasks.
    pub tasks: Vec<NewTask>,
    /// Their dependencies, on each other or on stored tasks.
    pub dependencies: Vec<Dependency>,
    /// Their parent.
    pub parent: Option<Parent>,
    /// Who stores them, if it must not learn of tasks that others asked for: if one of
    /// those has the unique key of one of these, nothing is stored
    /// ([`LinkError::TakenByOther`]).
    pub only_of: Option<String>,
    /// The audit entry.
    pub deed: Option<AuditEntry>,
}

/// A parent that only waits for its children.
#[derive(Debug, Clone)]
pub struct Parent {
    /// The parent itself.
    pub task: NewTask,
    /// If a child fails or is cancelled.
    pub if_failed: IfChildFailed,
    /// What runs when it has ended, and what becomes of that if it failed.
    pub then: Option<(NewTask, super::linked::IfFailed)>,
}

/// Stores many tasks, all or none, but for those whose unique key another one has:
/// instead of each of these, the id of that one is returned in its place. Whoever
/// waits for it waits for that one; it is no child and waits for nothing itself.
///
/// # Errors
/// If the database does not answer, or [`LinkError`]; nothing is stored then.
pub async fn enqueue_all(pool: &PgPool, together: &Together) -> Result<(DateTime<Utc>, Vec<Option<Uuid>>), LinkError> {
    let tasks = together.tasks.as_slice();
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
    if let Some(created_by) = &together.only_of {
        let others: Vec<Uuid> = existing.iter().flatten().copied().collect();
        if !others.is_empty() && !not_of(&mut *transaction, &others, created_by).await?.is_empty() {
            return Err(LinkError::TakenByOther);
        }
    }
    let fresh: Vec<NewTask> =
        tasks.iter().zip(&existing).filter(|(_, other)| other.is_none()).map(|(task, _)| task.clone()).collect();
    let accepted_at = if together.parent.is_none() && together.dependencies.is_empty() {
        enqueue(&mut *transaction, &fresh).await?
    } else {
        let instead: std::collections::HashMap<Uuid, Uuid> =
            tasks.iter().zip(&existing).filter_map(|(task, other)| Some((task.id, (*other)?))).collect();
        let mut dependencies: Vec<Dependency> = together
            .dependencies
            .iter()
            .filter(|dependency| !instead.contains_key(&dependency.task))
            .map(|dependency| Dependency { on: *instead.get(&dependency.on).unwrap_or(&dependency.on), ..*dependency })
            .collect();
        // Two prerequisites may have turned out to be the same task.
        dependencies.sort_by_key(|dependency| (dependency.task, dependency.on));
        dependencies.dedup_by_key(|dependency| (dependency.task, dependency.on));
        if let Some(parent) = &together.parent {
            begin_batch(&mut transaction, &parent.task, parent.if_failed).await?;
        }
        let parent = together.parent.as_ref().map(|parent| parent.task.id);
        enqueue_linked(&mut transaction, &fresh, &dependencies, parent).await?
    };
    if let Some(Parent { task, then: Some((then, if_failed)), .. }) = &together.parent {
        let waits = Dependency { task: then.id, on: task.id, if_failed: *if_failed };
        enqueue_linked(&mut transaction, std::slice::from_ref(then), &[waits], None).await?;
    }
    if let Some(deed) = &together.deed {
        audit::record(&mut *transaction, std::slice::from_ref(deed)).await?;
    }
    transaction.commit().await?;
    Ok((accepted_at, existing))
}

/// Takes a unique key for a task (`longhaul.take_key`), or tells whose it is.
async fn take_unique(transaction: &mut PgConnection, key: &str, task: &NewTask) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar("SELECT longhaul.take_key($1, $2, $3)")
        .bind(key)
        .bind(task.id)
        .bind(task.unique_for().map(|period| period.as_secs_f64()))
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
