//! A build of an index: a table beside the one in use, which is swapped in at the end.

use sqlx::{AssertSqlSafe, PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use super::ANALYZER;

/// A build of a project's index: the table that is being filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Build {
    pub(crate) index_id: i64,
    pub(crate) project_id: Uuid,
}

pub(super) fn table(index_id: i64) -> String {
    format!("search.document_{index_id}")
}

/// SQL for whether the table `c` of `pg_class` was made by `search.make_document`: it belongs to
/// whoever owns that function, or the schema. Others are neither filled nor read. Workers of
/// earlier releases created tables in this schema themselves, and so could whoever stole a
/// worker's login: reading a table runs what hangs on it, such as a policy's function, with the
/// reader's rights.
pub(super) const IS_OURS: &str = "(c.relowner IN (
        SELECT n.nspowner FROM pg_namespace n WHERE n.oid = c.relnamespace
        UNION ALL
        SELECT p.proowner FROM pg_proc p WHERE p.oid = to_regprocedure('search.make_document(bigint)')))";

/// Starts a build: an empty table with its index. The index is filled with the
/// table, through the pending list (`fastupdate`), so that the work is done
/// batch by batch, progress is honest to the end, and nothing long is lost in a
/// crash. 16 MiB of pending list is where building stops getting faster
/// (docs/adr/0003).
pub(crate) async fn begin(connection: &mut PgConnection, project_id: Uuid, task_id: Uuid) -> sqlx::Result<Build> {
    let index_id: i64 =
        sqlx::query_scalar("INSERT INTO search.build (project_id, task_id) VALUES ($1, $2) RETURNING index_id")
            .bind(project_id)
            .bind(task_id)
            .fetch_one(&mut *connection)
            .await?;
    sqlx::query("INSERT INTO search.analyzer (index_id, analyzer) VALUES ($1, $2)")
        .bind(index_id)
        .bind(ANALYZER)
        .execute(&mut *connection)
        .await?;
    sqlx::query("SELECT search.make_document($1)").bind(index_id).execute(connection).await?;
    Ok(Build { index_id, project_id })
}

/// Whether the build's table is still there, and such as this release makes it: its words are
/// read the same way, and the functions of schema `search` can tend it.
pub(crate) async fn exists(executor: impl PgExecutor<'_>, build: Build) -> sqlx::Result<bool> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM search.build WHERE index_id = $1)
            AND EXISTS (SELECT FROM search.analyzer WHERE index_id = $1 AND analyzer = $3)
            AND EXISTS (SELECT FROM pg_class c WHERE c.oid = to_regclass($2) AND {IS_OURS})"
    );
    sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(build.index_id)
        .bind(table(build.index_id))
        .bind(ANALYZER)
        .fetch_one(executor)
        .await
}

/// Settings of one batch's transaction. A batch need not be durable by itself
/// (if it is lost in a crash of the server, so is the checkpoint that was
/// committed with it, and the final swap makes all of it durable); memory for
/// merging the pending list; and no plan but index look-ups, also on a table
/// that has just been filled and has no statistics.
pub(crate) async fn tune(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql(
        "SET LOCAL synchronous_commit = off; SET LOCAL work_mem = '64MB'; SET LOCAL maintenance_work_mem = '64MB';
         SET LOCAL jit = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off;
         SET LOCAL enable_mergejoin = off; SET LOCAL enable_bitmapscan = off;",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Merges what is pending and gathers statistics, so that the first searches
/// are as fast as later ones.
pub(crate) async fn settle(pool: &PgPool, build: Build) -> sqlx::Result<()> {
    sqlx::query("SELECT search.tend_document($1, rewrite => false)").bind(build.index_id).execute(pool).await?;
    Ok(())
}

/// Sizes of an index before and after [`compact`], in bytes: table and GIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compacted {
    pub(crate) bytes_before: i64,
    pub(crate) bytes_after: i64,
}

/// Rewrites the GIN index densely (filling it batch by batch leaves the pages of
/// the pending list behind) and sets the table's visibility map.
pub(crate) async fn compact(pool: &PgPool, build: Build) -> sqlx::Result<Compacted> {
    let bytes_before = size(pool, build).await?;
    sqlx::query("SELECT search.tend_document($1, rewrite => true)").bind(build.index_id).execute(pool).await?;
    // Only whoever owns the table may; for others PostgreSQL passes over it, and autovacuum
    // comes to it.
    sqlx::raw_sql(AssertSqlSafe(format!("VACUUM (FREEZE) {}", table(build.index_id)))).execute(pool).await?;
    Ok(Compacted { bytes_before, bytes_after: size(pool, build).await? })
}

async fn size(executor: impl PgExecutor<'_>, build: Build) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT pg_total_relation_size($1::regclass)")
        .bind(table(build.index_id))
        .fetch_one(executor)
        .await
}

/// What became of a finished build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swapped {
    /// Searches use it from the commit on; the table before it, if any, can go.
    InUse {
        /// The index that was in use before.
        replaced: Option<i64>,
    },
    /// A build that began later is in use already, so this one is out of date.
    Overtaken,
    /// The project is gone.
    NoProject,
}

/// Makes a finished build the index in use, unless a build that began later
/// already is: whoever asked for that one was promised everything up to its
/// beginning.
pub(crate) async fn swap(connection: &mut PgConnection, build: Build, documents: i64) -> sqlx::Result<Swapped> {
    let project: Option<Uuid> = sqlx::query_scalar("SELECT id FROM records.project WHERE id = $1 FOR KEY SHARE")
        .bind(build.project_id)
        .fetch_optional(&mut *connection)
        .await?;
    if project.is_none() {
        return Ok(Swapped::NoProject);
    }
    // The row lock orders swaps of the same project.
    let replaced: Option<i64> =
        sqlx::query_scalar("SELECT index_id FROM search.index WHERE project_id = $1 FOR UPDATE")
            .bind(build.project_id)
            .fetch_optional(&mut *connection)
            .await?;
    // One that nobody reads is no later one.
    let done = sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO search.index AS used (project_id, index_id, documents) VALUES ($1, $2, $3)
         ON CONFLICT (project_id) DO UPDATE
            SET index_id = excluded.index_id, documents = excluded.documents, built_at = now()
          WHERE used.index_id < excluded.index_id
             OR NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = to_regclass('search.document_' || used.index_id) AND {IS_OURS})"
    )))
    .bind(build.project_id)
    .bind(build.index_id)
    .bind(documents)
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(Swapped::Overtaken);
    }
    sqlx::query("SELECT search.use_document($1)").bind(build.index_id).execute(&mut *connection).await?;
    sqlx::query("DELETE FROM search.build WHERE index_id = $1").bind(build.index_id).execute(connection).await?;
    Ok(Swapped::InUse { replaced: replaced.filter(|old| *old != build.index_id) })
}

/// Drops tables that nobody uses or fills: what was replaced, and builds whose
/// task is over. A table that a long search still reads is left for the next
/// call rather than waited for.
pub(crate) async fn drop_unused(pool: &PgPool) -> sqlx::Result<()> {
    let unused: Vec<i64> = sqlx::query_scalar(
        "SELECT t.index_id
           FROM (SELECT substring(c.relname FROM '^document_([0-9]+)$')::bigint AS index_id
                   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname = 'search' AND c.relkind = 'r' AND c.relname ~ '^document_[0-9]+$') AS t
          WHERE NOT EXISTS (SELECT FROM search.index i WHERE i.index_id = t.index_id)
            AND NOT EXISTS (SELECT FROM search.build b JOIN longhaul.tasks k ON k.id = b.task_id
                             WHERE b.index_id = t.index_id
                               AND k.state NOT IN ('Succeeded', 'Failed', 'Cancelled'))",
    )
    .fetch_all(pool)
    .await?;
    for index_id in unused {
        if let Err(error) = drop_table(pool, index_id).await {
            tracing::info!(index_id, %error, "an unused search index could not be dropped; a later Reindex will drop \
                it");
        }
    }
    // A worker of an earlier release drops the tables alone.
    sqlx::query("DELETE FROM search.analyzer WHERE to_regclass('search.document_' || index_id) IS NULL")
        .execute(pool)
        .await?;
    Ok(())
}

async fn drop_table(pool: &PgPool, index_id: i64) -> sqlx::Result<()> {
    let mut transaction = pool.begin().await?;
    sqlx::raw_sql("SET LOCAL lock_timeout = '500ms'").execute(&mut *transaction).await?;
    // One that a worker of an earlier release made is the workers' own.
    let own: Option<bool> = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT pg_has_role(c.relowner, 'USAGE') AND NOT {IS_OURS} FROM pg_class c WHERE c.oid = to_regclass($1)"
    )))
    .bind(table(index_id))
    .fetch_optional(&mut *transaction)
    .await?;
    match own {
        None => {}
        Some(true) => {
            let drop = format!("DROP TABLE IF EXISTS {}", table(index_id));
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *transaction).await?;
        }
        Some(false) => {
            sqlx::query("SELECT search.drop_document($1)").bind(index_id).execute(&mut *transaction).await?;
        }
    }
    for delete in ["DELETE FROM search.build WHERE index_id = $1", "DELETE FROM search.analyzer WHERE index_id = $1"] {
        sqlx::query(delete).bind(index_id).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Gives up a build: its table is dropped.
pub(crate) async fn discard(pool: &PgPool, build: Build) -> sqlx::Result<()> {
    drop_table(pool, build.index_id).await
}

/// Takes a project's index out of use; [`drop_unused`] then drops its table.
pub(crate) async fn forget(executor: impl PgExecutor<'_>, project_id: Uuid) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM search.index WHERE project_id = $1").bind(project_id).execute(executor).await?;
    Ok(())
}
