//! Reading records from newline-delimited JSON (`docs/import.md`).

use std::io::{BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;
use longhaul_model::{FileKind, has_nul};
use serde::Deserialize;
use serde_json::{Map, Value};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// One line of the input.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "Record", deny_unknown_fields)]
pub enum Record {
    /// A project.
    Project(ProjectRecord),
    /// Something in a project.
    Entity(EntityRecord),
    /// How two entities relate.
    Relationship(RelationshipRecord),
}

/// `{"Record": "Project", "Id": guid, "Name": "…"}`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ProjectRecord {
    /// Its guid.
    pub id: Uuid,
    /// Its name.
    pub name: String,
}

/// `{"Record": "Entity", "Id": guid, "ProjectId": guid, "Kind": "Requirement",
/// "Key": "REQ-1", "Name": "…", "Fields": {…}}`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct EntityRecord {
    /// Its guid.
    pub id: Uuid,
    /// The project it belongs to: in this file or already stored.
    pub project_id: Uuid,
    /// One word: a letter, then at most 39 letters or digits.
    pub kind: String,
    /// The short name that people use.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Anything else, by name; all texts in it are searchable.
    #[serde(default)]
    pub fields: Map<String, Value>,
}

/// `{"Record": "Relationship", "SourceId": guid, "TargetId": guid, "Kind": "Covers"}`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RelationshipRecord {
    /// An entity, in this file or already stored.
    pub source_id: Uuid,
    /// Another one.
    pub target_id: Uuid,
    /// One word, as an entity's kind.
    pub kind: String,
}

/// How many records of each kind were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Projects added or changed.
    pub projects: u64,
    /// Entities added or changed.
    pub entities: u64,
    /// Relationships added, or there before.
    pub relationships: u64,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A line is not what it should be.
    #[error("line {line}: {message}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What to change.
        message: String,
    },
    /// The input broke off.
    #[error("the input could not be read")]
    Read(#[from] std::io::Error),
    /// The database failed; the transaction was rolled back.
    #[error("the database failed; nothing was imported")]
    Database(#[from] sqlx::Error),
}

/// A longer line is no record.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;
/// Rows that go to the database in one statement, or fewer of more bytes than this.
const ROWS_AT_ONCE: usize = 4_000;
const BYTES_AT_ONCE: usize = 4 * 1024 * 1024;

/// Imports records from newline-delimited JSON, plain or gzip, in one
/// transaction: all or nothing. Records whose id is known are overwritten.
/// Memory does not grow with the input. `on_line` is told how many lines have
/// been read.
///
/// # Errors
/// With the number of the first line that is wrong, also if that shows only at
/// the end (an unknown project or entity, an id twice).
pub async fn import(pool: &PgPool, input: impl Read, mut on_line: impl FnMut(u64)) -> Result<Imported, ImportError> {
    let mut input = decompressed(input)?;
    let kind = FileKind::of(input.fill_buf()?);
    if let Some(message) = something_else(kind) {
        return Err(ImportError::Line { line: 1, message });
    }
    let mut transaction = pool.begin().await?;
    sqlx::raw_sql(STAGE).execute(&mut *transaction).await?;
    let mut batch = Batch::default();
    let mut imported = Imported::default();
    let (mut line, mut text) = (0, Vec::new());
    while read_line(&mut input, &mut text)? {
        line += 1;
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if text.len() as u64 > LONGEST_LINE {
            return Err(ImportError::Line { line, message: format!("longer than {LONGEST_LINE} bytes") });
        }
        let record = parse(&text).map_err(|message| ImportError::Line { line, message })?;
        match &record {
            Record::Project(_) => imported.projects += 1,
            Record::Entity(_) => imported.entities += 1,
            Record::Relationship(_) => imported.relationships += 1,
        }
        batch.push(line, record, text.len());
        if batch.rows >= ROWS_AT_ONCE || batch.bytes >= BYTES_AT_ONCE {
            batch.write(&mut transaction).await?;
            on_line(line);
        }
    }
    batch.write(&mut transaction).await?;
    on_line(line);
    refuse_misfits(&mut transaction).await?;
    sqlx::raw_sql(STORE).execute(&mut *transaction).await?;
    transaction.commit().await?;
    // Fresh statistics: the walk of a Reindex depends on good plans.
    sqlx::query("SELECT records.analyze_entities()").execute(pool).await?;
    Ok(imported)
}

/// Told by the two magic bytes (RFC 1952), not by a file name.
fn decompressed<'a>(input: impl Read + 'a) -> std::io::Result<Box<dyn BufRead + 'a>> {
    let mut input = BufReader::with_capacity(256 * 1024, input);
    let zipped = input.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if zipped {
        Box::new(BufReader::with_capacity(256 * 1024, MultiGzDecoder::new(input)))
    } else {
        Box::new(input)
    })
}

/// What to do with a file that is something else than newline-delimited JSON for certain.
fn something_else(kind: FileKind) -> Option<String> {
    let hint = match kind {
        FileKind::Empty | FileKind::Json | FileKind::Text => return None,
        FileKind::JsonArray => "write each of its elements on a line of its own, e.g. with jq -c '.[]'",
        FileKind::Utf16 => "save it in UTF-8",
        FileKind::Zip | FileKind::Bzip2 | FileKind::Xz | FileKind::Zstd => {
            "unpack it first; plain text and gzip are read"
        }
        _ => "newline-delimited JSON is expected: one record a line",
    };
    Some(format!("this is {kind}: {hint}"))
}

fn read_line(input: &mut impl BufRead, text: &mut Vec<u8>) -> std::io::Result<bool> {
    text.clear();
    Ok(input.take(LONGEST_LINE + 1).read_until(b'\n', text)? > 0)
}

fn parse(text: &[u8]) -> Result<Record, String> {
    // A byte order mark may stand before the first line.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let record: Record = serde_json::from_slice(text).map_err(|error| {
        // The parser counts lines within this line only.
        let said = error.to_string();
        let said = said.split(" at line ").next().unwrap_or(&said);
        if error.is_eof() { format!("{said}: each record must be on one line") } else { said.to_owned() }
    })?;
    let kind = match &record {
        Record::Project(project) if project.name.trim().is_empty() => return Err("Name is empty".to_owned()),
        Record::Project(_) => None,
        Record::Entity(entity) => Some(&entity.kind),
        Record::Relationship(relationship) => Some(&relationship.kind),
    };
    if let Some(kind) = kind {
        let fits = kind.len() <= 40
            && kind.starts_with(|c: char| c.is_ascii_alphabetic())
            && kind.chars().all(|c| c.is_ascii_alphanumeric());
        if !fits {
            return Err(format!(
                "Kind '{}' is not one word: a letter, then at most 39 letters or digits",
                kind.chars().take(60).collect::<String>()
            ));
        }
    }
    if record.has_nul() {
        return Err("the character U+0000 can't be stored".to_owned());
    }
    Ok(record)
}

impl Record {
    fn has_nul(&self) -> bool {
        match self {
            Record::Project(project) => project.name.contains('\0'),
            Record::Entity(entity) => {
                entity.key.contains('\0')
                    || entity.name.contains('\0')
                    || entity.fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value))
            }
            Record::Relationship(_) => false,
        }
    }
}

#[derive(Default)]
struct Batch {
    projects: Vec<(i64, ProjectRecord)>,
    entities: Vec<(i64, EntityRecord)>,
    relationships: Vec<(i64, RelationshipRecord)>,
    rows: usize,
    /// Of the lines that were read.
    bytes: usize,
}

impl Batch {
    fn push(&mut self, line: u64, record: Record, bytes: usize) {
        let line = i64::try_from(line).unwrap_or(i64::MAX);
        match record {
            Record::Project(project) => self.projects.push((line, project)),
            Record::Entity(entity) => self.entities.push((line, entity)),
            Record::Relationship(relationship) => self.relationships.push((line, relationship)),
        }
        self.rows += 1;
        self.bytes += bytes;
    }

    async fn write(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let Batch { projects, entities, relationships, .. } = std::mem::take(self);
        if !projects.is_empty() {
            sqlx::query("INSERT INTO staged_project SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::text[])")
                .bind(column(&projects, |(line, _)| *line))
                .bind(column(&projects, |(_, project)| project.id))
                .bind(column(&projects, |(_, project)| project.name.as_str()))
                .execute(&mut *connection)
                .await?;
        }
        if !entities.is_empty() {
            sqlx::query(
                "INSERT INTO staged_entity
                 SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::jsonb[])",
            )
            .bind(column(&entities, |(line, _)| *line))
            .bind(column(&entities, |(_, entity)| entity.id))
            .bind(column(&entities, |(_, entity)| entity.project_id))
            .bind(column(&entities, |(_, entity)| entity.kind.as_str()))
            .bind(column(&entities, |(_, entity)| entity.key.as_str()))
            .bind(column(&entities, |(_, entity)| entity.name.as_str()))
            .bind(column(&entities, |(_, entity)| Json(&entity.fields)))
            .execute(&mut *connection)
            .await?;
        }
        if !relationships.is_empty() {
            sqlx::query(
                "INSERT INTO staged_relationship
                 SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::uuid[], $4::text[])",
            )
            .bind(column(&relationships, |(line, _)| *line))
            .bind(column(&relationships, |(_, relationship)| relationship.source_id))
            .bind(column(&relationships, |(_, relationship)| relationship.target_id))
            .bind(column(&relationships, |(_, relationship)| relationship.kind.as_str()))
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}

fn column<'a, R, T>(rows: &'a [R], pick: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(pick).collect()
}

const STAGE: &str = "
    CREATE TEMP TABLE staged_project (line bigint, id uuid, name text) ON COMMIT DROP;
    CREATE TEMP TABLE staged_entity (line bigint, id uuid, project_id uuid, kind text, key text, name text, fields jsonb)
        ON COMMIT DROP;
    CREATE TEMP TABLE staged_relationship (line bigint, source_id uuid, target_id uuid, kind text) ON COMMIT DROP;";

/// What only shows when everything is read, each with the line to blame.
const MISFITS: &str = "
    SELECT line, message FROM (
        SELECT max(line) AS line, 'the Id ' || id || ' stands in more than one Project line' AS message
          FROM staged_project GROUP BY id HAVING count(*) > 1
        UNION ALL
        SELECT max(line), 'the Id ' || id || ' stands in more than one Entity line'
          FROM staged_entity GROUP BY id HAVING count(*) > 1
        UNION ALL
        SELECT min(e.line), 'there is no project ' || e.project_id || ', neither in this file nor stored'
          FROM staged_entity e
         WHERE NOT EXISTS (SELECT FROM staged_project p WHERE p.id = e.project_id)
           AND NOT EXISTS (SELECT FROM records.project p WHERE p.id = e.project_id)
         GROUP BY e.project_id
        UNION ALL
        SELECT r.line, 'there is no entity ' || x.id || ', neither in this file nor stored'
          FROM staged_relationship r CROSS JOIN LATERAL (VALUES (r.source_id), (r.target_id)) AS x(id)
         WHERE NOT EXISTS (SELECT FROM staged_entity e WHERE e.id = x.id)
           AND NOT EXISTS (SELECT FROM records.entity e WHERE e.id = x.id)
    ) AS misfits
    ORDER BY line LIMIT 1";

async fn refuse_misfits(connection: &mut PgConnection) -> Result<(), ImportError> {
    sqlx::raw_sql("ANALYZE staged_project, staged_entity, staged_relationship").execute(&mut *connection).await?;
    let misfit: Option<(i64, String)> = sqlx::query_as(MISFITS).fetch_optional(connection).await?;
    match misfit {
        Some((line, message)) => Err(ImportError::Line { line: line.unsigned_abs(), message }),
        None => Ok(()),
    }
}

const STORE: &str = "
    INSERT INTO records.project (id, name) SELECT id, name FROM staged_project
        ON CONFLICT (id) DO UPDATE SET name = excluded.name;
    INSERT INTO records.entity (id, project_id, kind, key, name, fields)
    SELECT id, project_id, kind, key, name, fields FROM staged_entity ORDER BY project_id, id
        ON CONFLICT (id) DO UPDATE
       SET project_id = excluded.project_id, kind = excluded.kind, key = excluded.key, name = excluded.name,
           fields = excluded.fields;
    INSERT INTO records.relationship (source_id, target_id, kind)
    SELECT DISTINCT source_id, target_id, kind FROM staged_relationship
        ON CONFLICT DO NOTHING;";

#[cfg(test)]
mod tests {
    use super::{Record, parse};

    #[test]
    fn a_line_says_what_is_wrong_with_it() {
        let said = |text: &str| parse(text.as_bytes()).expect_err("should be refused");
        assert!(said("{").contains("EOF"), "{}", said("{"));
        assert!(said(r#"{"Record":"Thing"}"#).contains("unknown variant"));
        assert!(said(r#"{"Record":"Project","Id":"x","Name":"n"}"#).contains("UUID"));
        assert!(
            said(r#"{"Record":"Project","Id":"c651ed19-5375-475a-a539-9f6401467130","Name":"n","Colour":1}"#)
                .contains("Colour")
        );
        assert!(said(r#"{"Record":"Relationship","SourceId":"c651ed19-5375-475a-a539-9f6401467130","TargetId":"c651ed19-5375-475a-a539-9f6401467130","Kind":"two words"}"#).contains("one word"));
    }

    #[test]
    fn a_good_line_is_read() {
        let line = r#"{"Record":"Project","Id":"c651ed19-5375-475a-a539-9f6401467130","Name":"Seed"}"#;
        assert!(matches!(parse(line.as_bytes()), Ok(Record::Project(project)) if project.name == "Seed"));
    }
}
