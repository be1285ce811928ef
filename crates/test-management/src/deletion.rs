//! Deleting entities with what points at them.

use sqlx::PgConnection;
use uuid::Uuid;

/// What one call deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deleted {
    pub(crate) entities: i64,
    pub(crate) relationships: i64,
    /// Whether the entities are gone; if not, so many relationships were in the
    /// way that the next transaction has to go on.
    pub(crate) whole: bool,
}

/// Relationships in one transaction at most: an entity that a million others
/// point at must not make a transaction of a million rows.
const RELATIONSHIPS_AT_ONCE: i64 = 10_000;

/// Deletes these entities and, first, their relationships in both directions:
/// as a set, which is several times faster than letting the foreign keys
/// cascade row by row. Call [`crate::search::tune`] first in the same
/// transaction.
pub(crate) async fn delete_entities(connection: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Deleted> {
    let mut relationships = 0;
    for sql in [
        "DELETE FROM records.relationship WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM records.relationship WHERE source_id = ANY ($1) LIMIT $2 FOR UPDATE))",
        "DELETE FROM records.relationship WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM records.relationship WHERE target_id = ANY ($1) LIMIT $2 FOR UPDATE))",
    ] {
        let done = sqlx::query(sql).bind(ids).bind(RELATIONSHIPS_AT_ONCE).execute(&mut *connection).await?;
        let rows = i64::try_from(done.rows_affected()).unwrap_or(i64::MAX);
        relationships += rows;
        if rows == RELATIONSHIPS_AT_ONCE {
            return Ok(Deleted { entities: 0, relationships, whole: false });
        }
    }
    let done =
        sqlx::query("DELETE FROM records.entity WHERE id = ANY ($1)").bind(ids).execute(&mut *connection).await?;
    let entities = i64::try_from(done.rows_affected()).unwrap_or(i64::MAX);
    Ok(Deleted { entities, relationships, whole: true })
}
