//! Giving back what the database says a worker holds and the worker does not.

use std::collections::{HashMap, HashSet};

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::LeaseKey;
use super::rescue::put_back;

/// The tasks that a worker has in memory, by the number of their lease. `None` stands for a
/// lease whose claim has not been answered yet.
pub type HeldTasks = HashMap<i64, Option<HashSet<Uuid>>>;

/// Compares the leases that the database has of this worker with what the worker holds, and
/// puts back the open tasks that the worker does not hold. Returns how many. `held` is asked
/// after the leases were read, so that a claim that comes in between is not missed.
///
/// Tasks that were put back are written down in `longhaul.repaired`: something that ought to
/// have ended or returned them did not.
///
/// # Errors
/// If the database fails; leases that were compared before it did are settled.
pub async fn give_back(pool: &PgPool, worker_id: i32, held: impl FnOnce() -> HeldTasks + Send) -> sqlx::Result<usize> {
    let leases: Vec<(i64, Vec<Uuid>)> = sqlx::query_as(
        "SELECT number, task_ids FROM longhaul.lease WHERE worker_id = $1 AND cardinality(task_ids) > 0",
    )
    .bind(worker_id)
    .fetch_all(pool)
    .await?;
    let held = held();
    let nothing = HashSet::new();
    let mut given_back = 0;
    for (number, task_ids) in leases {
        let kept = match held.get(&number) {
            Some(None) => continue,
            Some(Some(tasks)) => tasks,
            None => &nothing,
        };
        // What ended a while ago stays in its lease until the last of the batch has ended.
        if kept.is_empty() || task_ids.iter().any(|id| !kept.contains(id)) {
            let lease = LeaseKey { worker_id, number };
            let mut transaction = pool.begin().await?;
            given_back += settle(&mut transaction, lease, kept).await?;
            transaction.commit().await?;
        }
    }
    Ok(given_back)
}

/// Strikes the tasks that the worker does not hold from one lease, and puts back those of
/// them that are open.
async fn settle(transaction: &mut PgConnection, lease: LeaseKey, kept: &HashSet<Uuid>) -> sqlx::Result<usize> {
    let held: Option<Vec<Uuid>> = sqlx::query_scalar(
        "SELECT task_ids FROM longhaul.lease WHERE worker_id = $1 AND number = $2 FOR NO KEY UPDATE",
    )
    .bind(lease.worker_id)
    .bind(lease.number)
    .fetch_optional(&mut *transaction)
    .await?;
    // A statement of its own, which sees the ends that the lock was waited for.
    let open: Vec<Uuid> = sqlx::query_scalar(
        "SELECT t.id FROM longhaul.task t WHERE t.id = ANY ($1) AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')",
    )
    .bind(held.unwrap_or_default())
    .fetch_all(&mut *transaction)
    .await?;
    let lost: Vec<Uuid> = open.iter().copied().filter(|id| !kept.contains(id)).collect();
    if kept.is_empty() {
        sqlx::query("DELETE FROM longhaul.lease WHERE worker_id = $1 AND number = $2")
            .bind(lease.worker_id)
            .bind(lease.number)
            .execute(&mut *transaction)
            .await?;
    } else if !lost.is_empty() {
        sqlx::query(
            "UPDATE longhaul.lease SET shortened = true,
                    task_ids = ARRAY(SELECT held FROM unnest(task_ids) AS held WHERE held <> ALL ($3))
              WHERE worker_id = $1 AND number = $2",
        )
        .bind(lease.worker_id)
        .bind(lease.number)
        .bind(&lost)
        .execute(&mut *transaction)
        .await?;
    }
    if lost.is_empty() {
        return Ok(0);
    }
    let (requeued, _) = put_back(&mut *transaction, &lost, false).await?;
    sqlx::query(
        "INSERT INTO longhaul.repaired (task_id, problem)
         SELECT id, 'its worker was at work and did not hold it' FROM unnest($1::uuid[]) AS id",
    )
    .bind(&lost)
    .execute(transaction)
    .await?;
    Ok(requeued)
}
