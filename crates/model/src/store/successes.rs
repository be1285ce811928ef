//! How many tasks succeeded and are kept: a fact, however many they are.
//!
//! The number is the sum of the rows of `longhaul.successes`. A statement that makes tasks
//! Succeeded adds a row with their number, and one that removes such tasks a negative one, each
//! together with what it does to the tasks. So in every snapshot the sum is the number, as long as
//! all who write do so: `longhaul.succeeded` says whether they do.

use sqlx::{PgExecutor, PgPool};

/// The number, if it is exact. Tasks were counted one by one, and since then no worker of a
/// release was at work that does not write down what it changes.
///
/// # Errors
/// If the database does not answer.
pub async fn exact(executor: impl PgExecutor<'_>) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar("SELECT tasks FROM longhaul.succeeded WHERE exact").fetch_optional(executor).await
}

/// Rows that stay as they are: each costs next to nothing to read, and to add them up leaves
/// a dead row of each.
const FEW: i64 = 100;

/// Of those who add up the same rows, one gets each row: the others wait for it, and find it gone.
const FOLD: &str = "
    WITH taken AS (
        DELETE FROM longhaul.successes
         WHERE ctid = ANY (ARRAY(SELECT place FROM (SELECT ctid AS place, count(*) OVER () AS places
                                                      FROM (SELECT ctid FROM longhaul.successes LIMIT $1) s) p
                                  WHERE places > $2))
        RETURNING tasks, counted_at
    ), folded AS (
        INSERT INTO longhaul.successes (tasks, counted_at)
        SELECT least(greatest(sum(tasks), -9007199254740992), 9007199254740992)::bigint, max(counted_at)
          FROM taken HAVING count(*) > 0
    )
    SELECT count(*) FROM taken";

/// Makes one row of `limit` rows at most, if there are more than a few. Returns how many they were.
///
/// # Errors
/// If the database does not answer; nothing has changed then.
pub async fn fold(executor: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar(FOLD).bind(limit).bind(FEW).fetch_one(executor).await
}

/// Whether a worker that does not write down what it changes is at work, or may have left a
/// statement or a lease behind.
macro_rules! hindered {
    () => {
        "EXISTS (SELECT FROM longhaul.worker w
                  WHERE NOT w.counts_successes
                    AND (coalesce(w.stopped_at, w.lost_at, 'infinity') > now() - interval '2 minutes'
                         OR EXISTS (SELECT FROM longhaul.lease l WHERE l.worker_id = w.id)))"
    };
}

/// Whether the tasks are to be counted one by one, which makes the number exact: it is not, and
/// would be afterwards; or it is, and was so for a day, in which an unknown defect may have
/// falsified it.
///
/// # Errors
/// If the database does not answer.
pub async fn recount_is_due(executor: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar(concat!(
        "SELECT (NOT exact OR counted_at < now() - interval '1 day') AND NOT ",
        hindered!(),
        " FROM longhaul.succeeded"
    ))
    .fetch_one(executor)
    .await
}

/// Counts the tasks one by one, and puts their number in the place of all rows of the same
/// snapshot. Rows that others add meanwhile stay, and so do the tasks that these are of: neither is
/// in the snapshot. Returns `false` if the number would not be exact; nothing has changed then.
///
/// # Errors
/// If the database does not answer, or someone has added up rows of the snapshot meanwhile
/// (SQLSTATE 40001); nothing has changed then.
pub async fn recount(pool: &PgPool) -> sqlx::Result<bool> {
    let mut transaction = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    if sqlx::query_scalar(concat!("SELECT ", hindered!())).fetch_one(&mut *transaction).await? {
        return Ok(false);
    }
    // This reads the whole table, and several processes of the server may share the work.
    sqlx::query("SET LOCAL enable_seqscan = on").execute(&mut *transaction).await?;
    let tasks: i64 = sqlx::query_scalar("SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'")
        .fetch_one(&mut *transaction)
        .await?;
    sqlx::query("DELETE FROM longhaul.successes").execute(&mut *transaction).await?;
    sqlx::query("INSERT INTO longhaul.successes (tasks, counted_at) VALUES ($1, now())")
        .bind(tasks)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(true)
}
