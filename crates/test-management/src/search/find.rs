//! Searching the indexes in use.

use sqlx::{AssertSqlSafe, FromRow, PgExecutor, PgPool};
use uuid::Uuid;

use super::build::{IS_OURS, table};
use super::question::tsquery;
use super::{ANALYZER, FORMER_ANALYZER};

/// `$1` of [`entities_query`]: what is asked for, as each analyzer takes it.
pub(crate) fn question(asked: &str) -> Vec<String> {
    vec![asked.to_owned(), tsquery(asked)]
}

/// The `tsquery` in `$1`, which [`question`] made, for an index that this analyzer made.
fn query_for(analyzer: i16) -> sqlx::Result<&'static str> {
    match analyzer {
        ANALYZER => Ok("($1::text[])[2]::tsquery"),
        FORMER_ANALYZER => Ok("websearch_to_tsquery('simple', ($1::text[])[1])"),
        later => Err(sqlx::Error::Protocol(format!("a search index of a later release (analyzer {later})"))),
    }
}

/// Index, analyzer, and when it was built.
type Used = (i64, i16, chrono::DateTime<chrono::Utc>);

/// Without those that someone else than the owner made. One whose table is gone is among them:
/// it was replaced just now, which [`search`] finds when it reads it.
async fn indexes_in_use(executor: impl PgExecutor<'_>, project_id: Option<Uuid>) -> sqlx::Result<Vec<Used>> {
    let sql = format!(
        "SELECT i.index_id, coalesce(a.analyzer, $2), i.built_at, c.oid IS NULL OR {IS_OURS}
           FROM search.index i
           LEFT JOIN search.analyzer a ON a.index_id = i.index_id
           LEFT JOIN pg_class c ON c.oid = to_regclass('search.document_' || i.index_id)
          WHERE $1::uuid IS NULL OR i.project_id = $1 ORDER BY i.index_id"
    );
    let found: Vec<(i64, i16, chrono::DateTime<chrono::Utc>, bool)> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(project_id).bind(FORMER_ANALYZER).fetch_all(executor).await?;
    let (ours, foreign): (Vec<_>, Vec<_>) = found.into_iter().partition(|(.., ours)| *ours);
    if let Some((index_id, ..)) = foreign.first() {
        let indexes = foreign.len();
        tracing::warn!(
            index_id,
            indexes,
            "search indexes that another login than the owner made are not searched: run \
            a Reindex, or `longhaul roles --apply`"
        );
    }
    Ok(ours.into_iter().map(|(index_id, analyzer, built_at, _)| (index_id, analyzer, built_at)).collect())
}

/// A query for the `entity_id`s that fit `$1` (see [`question`]) in the indexes in use of one
/// project or all; `None` if there is no index.
pub(crate) async fn entities_query(
    executor: impl PgExecutor<'_>,
    project_id: Option<Uuid>,
) -> sqlx::Result<Option<String>> {
    let used = indexes_in_use(executor, project_id).await?;
    let queries = used
        .iter()
        .map(|(index_id, analyzer, _)| {
            Ok(format!("SELECT entity_id FROM {} WHERE tsv @@ {}", table(*index_id), query_for(*analyzer)?))
        })
        .collect::<sqlx::Result<Vec<String>>>()?;
    Ok((!queries.is_empty()).then(|| queries.join(" UNION ALL ")))
}

/// Whether a question asks for a word that entities must have, as every index in use of one
/// project or all takes it. One that only leaves words out (`-draft`, `a or -b`) or has no word
/// at all does not.
pub(crate) async fn narrows(pool: &PgPool, project_id: Option<Uuid>, asked: &str) -> sqlx::Result<bool> {
    let mut analyzers: Vec<i16> =
        indexes_in_use(pool, project_id).await?.into_iter().map(|(_, analyzer, _)| analyzer).collect();
    analyzers.sort_unstable();
    analyzers.dedup();
    if analyzers.is_empty() {
        analyzers.push(ANALYZER);
    }
    for analyzer in analyzers {
        // PostgreSQL manual, 12.4.2: 'T' if no index could help, empty if nothing is left.
        let sql = format!("SELECT querytree({}) NOT IN ('T', '')", query_for(analyzer)?);
        if !sqlx::query_scalar::<_, bool>(AssertSqlSafe(sql)).bind(question(asked)).fetch_one(pool).await? {
            return Ok(false);
        }
    }
    Ok(true)
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
    /// As people type it: words that must all occur, `"a phrase"`, `or`, `-not`.
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
/// If the database does not answer.
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
    let used = indexes_in_use(pool, request.project_id).await?;
    let Some(indexed_at) = used.iter().map(|(.., built_at)| *built_at).min() else {
        return Ok(Hits { total: 0, page: Vec::new(), indexed_at: None });
    };
    let hits = used
        .iter()
        .map(|(index_id, analyzer, _)| {
            let (table, query) = (table(*index_id), query_for(*analyzer)?);
            Ok(format!("SELECT entity_id, ts_rank(tsv, {query}) AS rank FROM {table} WHERE tsv @@ {query}"))
        })
        .collect::<sqlx::Result<Vec<String>>>()?;
    let sql = format!(
        "WITH hit AS MATERIALIZED ({}), page AS (
                  SELECT entity_id, rank FROM hit ORDER BY rank DESC, entity_id LIMIT $2 OFFSET $3
              )
         SELECT counted.total, entity.id, entity.project_id, entity.kind, entity.key, entity.name, page.rank
           FROM (SELECT count(*) AS total FROM hit) AS counted
           LEFT JOIN (page JOIN records.entity ON entity.id = page.entity_id) ON true
          ORDER BY page.rank DESC, entity.id",
        hits.join(" UNION ALL ")
    );
    // Not kept as a prepared statement: the tables' names change with every build.
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(question(request.query))
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
