//! What task types there are, for views and for tasks that SQL stores.

use sqlx::PgExecutor;

use crate::Registry;

const REGISTER: &str = "
    INSERT INTO longhaul.task_type AS known (name, id_prefix, queue, max_attempts, priority, unique_seconds, secret)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::smallint[], $6::float8[], $7::boolean[])
    ON CONFLICT (name) DO UPDATE
       SET id_prefix = excluded.id_prefix, queue = excluded.queue,
           max_attempts = excluded.max_attempts, priority = excluded.priority,
           unique_seconds = excluded.unique_seconds, secret = excluded.secret, registered_at = now()
     WHERE (known.id_prefix, known.queue, known.max_attempts, known.priority, known.unique_seconds,
            known.secret)
           IS DISTINCT FROM (excluded.id_prefix, excluded.queue, excluded.max_attempts, excluded.priority, excluded.unique_seconds,
                             excluded.secret)";

/// Tells the database what task types this process knows. Called at start-up.
///
/// # Errors
/// If the database does not answer.
pub async fn register(executor: impl PgExecutor<'_>, registry: &Registry) -> sqlx::Result<()> {
    let infos: Vec<_> = registry.iter().map(|entry| *entry.info()).collect();
    let column = |pick: fn(&crate::TaskTypeInfo) -> &'static str| infos.iter().map(pick).collect::<Vec<_>>();
    sqlx::query(REGISTER)
        .bind(column(|info| info.name))
        .bind(column(|info| info.id_prefix))
        .bind(column(|info| info.queue))
        .bind(infos.iter().map(|info| super::small(info.retry.max_attempts)).collect::<Vec<_>>())
        .bind(infos.iter().map(|info| i16::from(info.priority)).collect::<Vec<_>>())
        .bind(infos.iter().map(|info| info.unique_for.map(|period| period.as_secs_f64())).collect::<Vec<_>>())
        .bind(registry.iter().map(crate::Entry::has_secrets).collect::<Vec<_>>())
        .execute(executor)
        .await?;
    Ok(())
}

/// Those of these names that no process has ever made known.
///
/// # Errors
/// If the database does not answer.
pub async fn unknown(executor: impl PgExecutor<'_>, names: &[String]) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT name FROM unnest($1::text[]) AS n(name)
          WHERE NOT EXISTS (SELECT FROM longhaul.task_type y WHERE y.name = n.name)",
    )
    .bind(names)
    .fetch_all(executor)
    .await
}

/// A task type that some process has made known.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct KnownType {
    /// Its name.
    pub name: String,
    /// The queue of its tasks, unless they say otherwise.
    pub queue: String,
    /// Whether it is paused.
    pub paused: bool,
}

/// Every task type that some process has made known, by name.
///
/// # Errors
/// If the database does not answer.
pub async fn known(executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<KnownType>> {
    sqlx::query_as("SELECT name, queue, paused_at IS NOT NULL AS paused FROM longhaul.task_type ORDER BY name")
        .fetch_all(executor)
        .await
}
