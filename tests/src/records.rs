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
