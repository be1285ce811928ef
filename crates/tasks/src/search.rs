//! The search index: building one beside the other, swapping, searching.

use sqlx::{AssertSqlSafe, FromRow, PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

/// A build of a project's index: the table that is being filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Build {
    pub(crate) index_id: i64,
    pub(crate) project_id: Uuid,
}

/// What one batch did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchDone {
    pub(crate) documents: i64,
    /// The last entity of the batch; `None` at the end of the project.
    pub(crate) last: Option<Uuid>,
    /// Keys of entities whose fields are too long to be indexed whole.
    pub(crate) cut: Vec<String>,
}

fn table(index_id: i64) -> String {
    format!("search.document_{index_id}")
}

fn gin(index_id: i64) -> String {
    format!("search.document_{index_id}_tsv")
}

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
    let (table, name) = (table(index_id), format!("document_{index_id}_tsv"));
    // No vacuum while it is filled: it would merge the pending list too.
    let create = format!(
        "CREATE TABLE {table} (entity_id uuid NOT NULL, tsv tsvector NOT NULL) WITH (autovacuum_enabled = off);
         CREATE INDEX {name} ON {table} USING gin (tsv) WITH (fastupdate = on, gin_pending_list_limit = 16384);"
    );
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *connection).await?;
    sqlx::query("SELECT search.hand_over($1::regclass)").bind(&table).execute(connection).await?;
    Ok(Build { index_id, project_id })
}

/// Whether the build's table is still there.
pub(crate) async fn exists(executor: impl PgExecutor<'_>, build: Build) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM search.build WHERE index_id = $1) AND to_regclass($2) IS NOT NULL")
        .bind(build.index_id)
        .bind(table(build.index_id))
        .fetch_one(executor)
        .await
}

/// The related entities' names, 200 in each direction at most: a hub that
/// everything points at is not made the sum of everything. Subqueries instead
/// of joins keep the planner to index look-ups, whatever its statistics say.
const RELATED_NAMES: &str = "
    || setweight(to_tsvector('simple', coalesce((SELECT string_agg(related.name, ' ') FROM (
         (SELECT (SELECT e.name FROM records.entity e WHERE e.id = r.target_id)
            FROM records.relationship r WHERE r.source_id = batch.id LIMIT 200)
         UNION ALL
         (SELECT (SELECT e.name FROM records.entity e WHERE e.id = r.source_id)
            FROM records.relationship r WHERE r.target_id = batch.id LIMIT 200)
       ) AS related(name)), '')), 'D')";

/// Adds the next entities after `after`, in the order of their ids. Everything
/// happens in the server: no entity passes through this process. Call
/// [`tune`] first in the same transaction.
pub(crate) async fn add_batch(
    connection: &mut PgConnection,
    build: Build,
    after: Uuid,
    limit: i64,
    with_relationships: bool,
) -> sqlx::Result<BatchDone> {
    let table = table(build.index_id);
    let related = if with_relationships { RELATED_NAMES } else { "" };
    // Weights: names and keys first, then every text of the fields, then what
    // the entity is related to. A word of at most 2 KB is indexed; a document's
    // words at most 1 MB (PostgreSQL manual, 12.11), hence the cuts.
    let sql = format!(
        "WITH batch AS MATERIALIZED (
             SELECT id, key, name, fields, length(fields::text) AS field_length FROM records.entity
              WHERE project_id = $1 AND id > $2
              ORDER BY project_id, id LIMIT $3
         ), added AS (
             INSERT INTO {table} (entity_id, tsv)
             SELECT batch.id,
                    setweight(to_tsvector('simple', left(batch.name || ' ' || batch.key, 100000)), 'A')
                    || setweight(CASE WHEN batch.field_length < 250000
                                      THEN jsonb_to_tsvector('simple', batch.fields, '[\"string\", \"numeric\"]')
                                      ELSE to_tsvector('simple', left(batch.fields::text, 250000)) END, 'B')
                    {related}
               FROM batch
             RETURNING 1
         )
         SELECT (SELECT count(*) FROM added), (SELECT id FROM batch ORDER BY id DESC LIMIT 1),
                ARRAY(SELECT key FROM batch WHERE field_length >= 250000 ORDER BY id)"
    );
    let (documents, last, cut) =
        sqlx::query_as(AssertSqlSafe(sql)).bind(build.project_id).bind(after).bind(limit).fetch_one(connection).await?;
    Ok(BatchDone { documents, last, cut })
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
    sqlx::query("SELECT gin_clean_pending_list($1::regclass)").bind(gin(build.index_id)).execute(pool).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("ANALYZE {}", table(build.index_id)))).execute(pool).await?;
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
    let (table, gin) = (table(build.index_id), gin(build.index_id));
    sqlx::raw_sql(AssertSqlSafe(format!("REINDEX INDEX {gin}"))).execute(pool).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("VACUUM (FREEZE, ANALYZE) {table}"))).execute(pool).await?;
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
    let done = sqlx::query(
        "INSERT INTO search.index AS used (project_id, index_id, documents) VALUES ($1, $2, $3)
         ON CONFLICT (project_id) DO UPDATE
            SET index_id = excluded.index_id, documents = excluded.documents, built_at = now()
          WHERE used.index_id < excluded.index_id",
    )
    .bind(build.project_id)
    .bind(build.index_id)
    .bind(documents)
    .execute(&mut *connection)
    .await?;
    let reset = format!("ALTER TABLE {} RESET (autovacuum_enabled)", table(build.index_id));
    if done.rows_affected() == 0 {
        return Ok(Swapped::Overtaken);
    }
    sqlx::raw_sql(AssertSqlSafe(reset)).execute(&mut *connection).await?;
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
            tracing::info!(index_id, %error, "an unused search index could not be dropped now; a later Reindex will");
        }
    }
    Ok(())
}

async fn drop_table(pool: &PgPool, index_id: i64) -> sqlx::Result<()> {
    let mut transaction = pool.begin().await?;
    sqlx::raw_sql("SET LOCAL lock_timeout = '500ms'").execute(&mut *transaction).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("DROP TABLE IF EXISTS {}", table(index_id))))
        .execute(&mut *transaction)
        .await?;
    sqlx::query("DELETE FROM search.build WHERE index_id = $1").bind(index_id).execute(&mut *transaction).await?;
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

/// A query for the `entity_id`s that fit `$1` (see [`SearchRequest::query`]) in
/// the indexes in use of one project or all; `None` if there is no index.
pub(crate) async fn entities_query(
    executor: impl PgExecutor<'_>,
    project_id: Option<Uuid>,
) -> sqlx::Result<Option<String>> {
    let used: Vec<i64> =
        sqlx::query_scalar("SELECT index_id FROM search.index WHERE $1::uuid IS NULL OR project_id = $1")
            .bind(project_id)
            .fetch_all(executor)
            .await?;
    let queries = used.iter().map(|index_id| {
        format!("SELECT entity_id FROM {} WHERE tsv @@ websearch_to_tsquery('simple', $1)", table(*index_id))
    });
    Ok(queries.reduce(|all, next| format!("{all} UNION ALL {next}")))
}

/// One hit.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct Hit {
    /// The entity.
    pub id: Uuid,
    /// Its project.
    pub project_id: Uuid,
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// Its name.
    pub name: String,
    /// The higher, the better it fits.
    pub rank: f32,
}

/// A page of hits.
#[derive(Debug, Clone, PartialEq)]
pub struct Hits {
    /// How many there are in all.
    pub total: i64,
    /// This page, best first.
    pub page: Vec<Hit>,
    /// When the oldest of the indexes that were searched was built; `None` if
    /// none has been.
    pub indexed_at: Option<chrono::DateTime<chrono::Utc>>,
}

/// Where to search and what part of the hits to return.
#[derive(Debug, Clone, Copy)]
pub struct SearchRequest<'a> {
    /// As people type it: words that must all occur, `"a phrase"`, `or`, `-not`
    /// (`websearch_to_tsquery`).
    pub query: &'a str,
    /// One project, or all.
    pub project_id: Option<Uuid>,
    /// How many hits to return.
    pub limit: i64,
    /// How many to pass over.
    pub offset: i64,
}

/// SQLSTATE `undefined_table`: the index was replaced and dropped between
/// finding and searching it.
const UNDEFINED_TABLE: &str = "42P01";
const TRIES: usize = 5;

/// Searches the index in use: all of it is from one build of each project.
///
/// # Errors
/// When the database does not answer.
pub async fn search(pool: &PgPool, request: SearchRequest<'_>) -> sqlx::Result<Hits> {
    let mut tries = 0;
    loop {
        tries += 1;
        match search_once(pool, request).await {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_TABLE) && tries < TRIES => {}
            result => return result,
        }
    }
}

async fn search_once(pool: &PgPool, request: SearchRequest<'_>) -> sqlx::Result<Hits> {
    let used: Vec<(i64, chrono::DateTime<chrono::Utc>)> = sqlx::query_as(
        "SELECT index_id, built_at FROM search.index WHERE $1::uuid IS NULL OR project_id = $1 ORDER BY index_id",
    )
    .bind(request.project_id)
    .fetch_all(pool)
    .await?;
    let Some(indexed_at) = used.iter().map(|(_, built_at)| *built_at).min() else {
        return Ok(Hits { total: 0, page: Vec::new(), indexed_at: None });
    };
    let documents: Vec<String> =
        used.iter().map(|(index_id, _)| format!("SELECT entity_id, tsv FROM {}", table(*index_id))).collect();
    let sql = format!(
        "WITH asked AS (SELECT websearch_to_tsquery('simple', $1) AS query),
              hit AS MATERIALIZED (
                  SELECT document.entity_id, ts_rank(document.tsv, asked.query) AS rank
                    FROM asked, ({}) AS document
                   WHERE document.tsv @@ asked.query
              ), page AS (
                  SELECT entity_id, rank FROM hit ORDER BY rank DESC, entity_id LIMIT $2 OFFSET $3
              )
         SELECT counted.total, entity.id, entity.project_id, entity.kind, entity.key, entity.name, page.rank
           FROM (SELECT count(*) AS total FROM hit) AS counted
           LEFT JOIN (page JOIN records.entity ON entity.id = page.entity_id) ON true
          ORDER BY page.rank DESC, entity.id",
        documents.join(" UNION ALL ")
    );
    // Not kept as a prepared statement: the tables' names change with every build.
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(request.query)
        .bind(request.limit)
        .bind(request.offset)
        .persistent(false)
        .fetch_all(pool)
        .await?;
    let total = rows.first().map_or(Ok(0), |row| sqlx::Row::try_get(row, "total"))?;
    let page = rows
        .iter()
        .filter(|row| sqlx::Row::try_get::<Option<Uuid>, _>(*row, "id").is_ok_and(|id| id.is_some()))
        .map(Hit::from_row)
        .collect::<sqlx::Result<Vec<Hit>>>()?;
    Ok(Hits { total, page, indexed_at: Some(indexed_at) })
}
