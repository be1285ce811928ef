//! Filling an index: entities become documents in this process, batch by batch.

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, FromRow, PgConnection};
use uuid::Uuid;

use super::build::{Build, table};
use super::document::{Document, Weight};
use super::json_text;

/// What one batch did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchDone {
    pub(crate) documents: i64,
    /// The last entity of the batch; `None` at the end of the project.
    pub(crate) last: Option<Uuid>,
    /// Entities that are too long to be indexed whole, as [`name_of`] names them.
    pub(crate) cut: Vec<String>,
}

/// Characters that are read of a name and of a key.
const NAME_LIMIT: usize = 100_000;
/// Characters that are read of an entity's fields.
const FIELDS_LIMIT: usize = 1_000_000;
/// Characters that are read of the name of a related entity.
const RELATED_LIMIT: usize = 500;
/// Bytes of documents in one batch, and one document more.
const BATCH_BYTES: usize = 4 << 20;
/// Bytes of them that are sent at once: the connection copies what it sends.
const PART_BYTES: usize = 256 << 10;
/// Bytes of texts that are read before others have their turn: about a millisecond of work.
const AT_ONCE: usize = 64 << 10;

#[derive(Debug, FromRow)]
struct Entity {
    id: Uuid,
    key: String,
    name: String,
    fields: String,
    related: Option<String>,
}

/// The related entities' names, 200 in each direction at most: a hub that everything points
/// at is not made the sum of everything. Subqueries instead of joins keep the planner to
/// index look-ups, whatever its statistics say.
fn related_names() -> String {
    format!(
        "(SELECT string_agg(left(related.name, {RELATED_LIMIT}), E'\\n') FROM (
             (SELECT (SELECT e.name FROM records.entity e WHERE e.id = r.target_id)
                FROM records.relationship r WHERE r.source_id = batch.id LIMIT 200)
             UNION ALL
             (SELECT (SELECT e.name FROM records.entity e WHERE e.id = r.source_id)
                FROM records.relationship r WHERE r.target_id = batch.id LIMIT 200)
           ) AS related(name))"
    )
}

/// Adds the next entities after `after`, in the order of their ids: `limit` of them, or fewer
/// if their documents are long. Call [`tune`](super::tune) first in the same transaction.
pub(crate) async fn add_batch(
    connection: &mut PgConnection,
    build: Build,
    after: Uuid,
    limit: i64,
    with_relationships: bool,
) -> sqlx::Result<BatchDone> {
    // One character more than is used, so that a longer text is known.
    let (name, fields) = (NAME_LIMIT + 1, FIELDS_LIMIT + 1);
    let related = if with_relationships { related_names() } else { "NULL".to_owned() };
    let sql = format!(
        "SELECT id, left(key, {name}) AS key, left(name, {name}) AS name, left(fields::text, {fields}) AS fields,
                {related} AS related
           FROM records.entity AS batch WHERE project_id = $1 AND id > $2 ORDER BY project_id, id LIMIT $3"
    );
    let mut done = BatchDone { documents: 0, last: None, cut: Vec::new() };
    // COPY's binary format (PostgreSQL manual, COPY).
    let mut rows = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    let mut read = 0;
    let mut entities =
        sqlx::query_as(AssertSqlSafe(sql)).bind(build.project_id).bind(after).bind(limit).fetch(&mut *connection);
    while let Some(entity) = entities.try_next().await? {
        let entity: Entity = entity;
        read += entity.key.len() + entity.name.len() + entity.fields.len();
        if read > AT_ONCE {
            tokio::task::yield_now().await;
            read = 0;
        }
        if !write_row(&entity, &mut rows) {
            done.cut.push(name_of(entity.id, &entity.key));
        }
        done.documents += 1;
        done.last = Some(entity.id);
        // The rest is read past, and the next batch asks for fewer.
        if rows.len() > BATCH_BYTES {
            break;
        }
    }
    drop(entities);
    if done.last.is_none() {
        return Ok(done);
    }
    rows.extend((-1_i16).to_be_bytes());
    let copy = format!("COPY {} (entity_id, tsv) FROM STDIN (FORMAT binary)", table(build.index_id));
    let mut copy = connection.copy_in_raw(&copy).await?;
    for part in rows.chunks(PART_BYTES) {
        copy.send(part).await?;
    }
    copy.finish().await?;
    Ok(done)
}

/// The entity after `after`, as [`name_of`] names it: what stands in the way when a batch of
/// one is refused.
pub(crate) async fn next_entity(
    connection: &mut PgConnection,
    build: Build,
    after: Uuid,
) -> sqlx::Result<Option<(Uuid, String)>> {
    let next: Option<(Uuid, String)> = sqlx::query_as(
        "SELECT id, left(key, 100) FROM records.entity WHERE project_id = $1 AND id > $2
          ORDER BY project_id, id LIMIT 1",
    )
    .bind(build.project_id)
    .bind(after)
    .fetch_optional(connection)
    .await?;
    Ok(next.map(|(id, key)| (id, name_of(id, &key))))
}

/// What people know an entity by. Keys need be neither short nor unique.
fn name_of(id: Uuid, key: &str) -> String {
    format!("{} ({id})", key.chars().take(100).collect::<String>())
}

/// Appends the entity's document. Names and keys weigh most, then every text of the fields,
/// then what the entity is related to. Each has room that what comes before can't take.
/// Says whether all of the texts is in it.
fn write_row(entity: &Entity, rows: &mut Vec<u8>) -> bool {
    let mut document = Document::default();
    let mut add = |text: &str, characters: usize, weight: Weight, limit: usize| {
        let used = text.char_indices().nth(characters).map(|(end, _)| &text[..end]);
        document.add(used.unwrap_or(text), weight, limit);
        used.is_none()
    };
    let mut whole = add(&entity.name, NAME_LIMIT, Weight::A, 30);
    whole &= add(&entity.key, NAME_LIMIT, Weight::A, 40);
    json_text::texts(&entity.fields, |text| document.add(text, Weight::B, 80));
    if let Some(related) = &entity.related {
        document.add(related, Weight::D, 100);
    }
    whole &= entity.fields.len() <= FIELDS_LIMIT || entity.fields.chars().count() <= FIELDS_LIMIT;
    rows.extend(2_i16.to_be_bytes());
    rows.extend(16_i32.to_be_bytes());
    rows.extend(entity.id.as_bytes());
    let length_at = rows.len();
    rows.extend([0; 4]);
    whole &= document.write(rows);
    let length = i32::try_from(rows.len() - length_at - 4).unwrap_or(i32::MAX);
    rows[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    whole
}
