//! Records to act on.

use sqlx::PgPool;
use uuid::Uuid;

/// A project that a test made.
#[derive(Debug, Clone, Copy)]
pub struct Project {
    /// Its guid.
    pub id: Uuid,
    /// How many entities it has.
    pub entities: i64,
}

/// Makes a project with that many entities, each with a word of its own
/// (`own` and its number) and about 20 others, and twice as many relationships.
pub async fn fill_project(pool: &PgPool, id: Uuid, entities: i64) -> Project {
    let mut transaction = pool.begin().await.expect("the database answers");
    sqlx::query("INSERT INTO records.project (id, name) VALUES ($1, 'Project ' || $1)")
        .bind(id)
        .execute(&mut *transaction)
        .await
        .expect("a project");
    sqlx::query(
        "INSERT INTO records.entity (id, project_id, kind, key, name, fields)
         SELECT md5($1::text || n)::uuid, $1,
                (ARRAY['Requirement', 'Script', 'Assignment', 'Result', 'Incident'])[1 + n % 5],
                'TST-' || n, 'Entity number ' || n || ' own' || n,
                jsonb_build_object('Description', (SELECT string_agg('word' || (n * 31 + k * 977) % 5000, ' ')
                                                     FROM generate_series(1, 20) AS k))
           FROM generate_series(1, $2) AS n",
    )
    .bind(id)
    .bind(entities)
    .execute(&mut *transaction)
    .await
    .expect("entities");
    sqlx::query(
        "INSERT INTO records.relationship (source_id, target_id, kind)
         SELECT md5($1::text || n)::uuid, md5($1::text || 1 + (n * step) % $2)::uuid, 'Covers' || step
           FROM generate_series(1, $2) AS n CROSS JOIN (VALUES (7), (13)) AS s(step)",
    )
    .bind(id)
    .bind(entities)
    .execute(&mut *transaction)
    .await
    .expect("relationships");
    transaction.commit().await.expect("a commit");
    Project { id, entities }
}

/// Builds a project's search index as workers of the first release did: PostgreSQL's own text
/// search reads the words, and nothing says so. Returns how many documents it has.
pub async fn index_as_formerly(pool: &PgPool, project: Uuid) -> u64 {
    let mut transaction = pool.begin().await.expect("the database answers");
    // As these workers did, so that related names come in the same order.
    sqlx::raw_sql("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        .execute(&mut *transaction)
        .await
        .expect("settings");
    let index_id: i64 = sqlx::query_scalar(
        "INSERT INTO search.build (project_id, task_id) VALUES ($1, gen_random_uuid()) RETURNING index_id",
    )
    .bind(project)
    .fetch_one(&mut *transaction)
    .await
    .expect("a build");
    sqlx::query("SELECT search.make_document($1)").bind(index_id).execute(&mut *transaction).await.expect("a table");
    let fill = format!(
        "INSERT INTO search.document_{index_id} (entity_id, tsv)
         SELECT entity.id,
                setweight(to_tsvector('simple', left(entity.name || ' ' || entity.key, 100000)), 'A')
                || setweight(jsonb_to_tsvector('simple', entity.fields, '[\"string\", \"numeric\"]'), 'B')
                || setweight(to_tsvector('simple', coalesce((SELECT string_agg(related.name, ' ') FROM (
                     (SELECT (SELECT e.name FROM records.entity e WHERE e.id = r.target_id)
                        FROM records.relationship r WHERE r.source_id = entity.id LIMIT 200)
                     UNION ALL
                     (SELECT (SELECT e.name FROM records.entity e WHERE e.id = r.source_id)
                        FROM records.relationship r WHERE r.target_id = entity.id LIMIT 200)
                   ) AS related(name)), '')), 'D')
           FROM records.entity WHERE project_id = $1"
    );
    let filled = sqlx::query(sqlx::AssertSqlSafe(fill)).bind(project).execute(&mut *transaction).await;
    let documents = filled.expect("documents").rows_affected();
    for end in [
        "INSERT INTO search.index AS used (project_id, index_id, documents) VALUES ($2, $1, 0)
         ON CONFLICT (project_id) DO UPDATE
            SET index_id = excluded.index_id, documents = excluded.documents, built_at = now()",
        "DELETE FROM search.build WHERE index_id = $1 AND project_id = $2",
    ] {
        sqlx::query(end).bind(index_id).bind(project).execute(&mut *transaction).await.expect("swapped");
    }
    transaction.commit().await.expect("a commit");
    documents
}
