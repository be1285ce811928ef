//! Today's functions and views of the schema `longhaul`: the files of `migrations/current`,
//! applied after the dated migrations wherever they differ from what the database has.

use std::collections::HashMap;
use std::sync::LazyLock;

use ring::digest::{Context, SHA256};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{PgConnection, PgPool};

use super::migration_session::{LOCK_VIEWS, PAUSE, QUEUE, TRIES, lost_to_others, owner};

/// One file.
struct File {
    name: &'static str,
    sql: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/current.rs"));

/// What is dropped once all the rest is there.
const GONE: File = File { name: "gone.sql", sql: include_str!("../../migrations/current/gone.sql") };

/// The edition of the files, and the digest of all of them as it was when that was counted.
const EDITION: &str = include_str!("../../migrations/current/edition");

/// The migration that makes the table of what was applied.
const TABLE_MADE_BY: i64 = 20_261_130_100_000;

/// By the name of each file.
static DIGESTS: LazyLock<HashMap<&'static str, String>> =
    LazyLock::new(|| files().map(|file| (file.name, hex(&[file.sql]))).collect());

fn files() -> impl Iterator<Item = &'static File> {
    FUNCTIONS.iter().chain(VIEWS).chain(std::iter::once(&GONE))
}

fn hex(texts: &[&str]) -> String {
    let mut context = Context::new(&SHA256);
    for text in texts {
        context.update(text.as_bytes());
        context.update(&[0]);
    }
    context.finish().as_ref().iter().fold(String::new(), |mut hex, byte| {
        hex.push_str(&format!("{byte:02x}"));
        hex
    })
}

/// Which edition of the functions and views this program has: later ones have greater numbers.
#[must_use]
pub fn edition() -> i32 {
    EDITION.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The digest that the file `edition` has.
#[must_use]
pub fn edition_digest() -> &'static str {
    EDITION.split_whitespace().nth(1).unwrap_or_default()
}

/// The digest of all files.
#[must_use]
pub fn digest() -> String {
    let texts: Vec<&str> = files().flat_map(|file| [file.name, file.sql]).collect();
    hex(&texts)
}

/// Every file, by its name in `migrations/current` and with its text, in the order in which
/// they are applied.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    files().map(|file| (file.name, file.sql))
}

/// Functions and views of a database beside those of this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// They are the same.
    Same,
    /// So many files have not been applied.
    Older(usize),
    /// A later program has applied its own.
    Newer,
}

/// Whether the functions and views belong to these migrations: the queue's, up to the table
/// that tells which have been applied.
pub(super) fn belong_to(migrator: &Migrator) -> bool {
    migrator.table_name == QUEUE.table_name && migrator.iter().any(|migration| migration.version == TABLE_MADE_BY)
}

/// Compares them.
///
/// # Errors
/// When the database does not answer.
pub async fn state(connection: &mut PgConnection) -> sqlx::Result<State> {
    let known: bool =
        sqlx::query_scalar("SELECT to_regclass('longhaul.current') IS NOT NULL").fetch_one(&mut *connection).await?;
    if !known {
        return Ok(State::Older(files().count()));
    }
    let (missing, newer) = missing(connection).await?;
    Ok(match missing.len() {
        0 => State::Same,
        _ if newer => State::Newer,
        number => State::Older(number),
    })
}

/// The files that differ, and whether a later program has applied some.
async fn missing(connection: &mut PgConnection) -> sqlx::Result<(Vec<&'static File>, bool)> {
    let applied: Vec<(String, String, i32)> =
        sqlx::query_as("SELECT file, digest, edition FROM longhaul.current").fetch_all(connection).await?;
    let newer = applied.iter().any(|(.., edition)| *edition > self::edition());
    let digests: HashMap<&str, &str> =
        applied.iter().map(|(file, digest, _)| (file.as_str(), digest.as_str())).collect();
    let differs = |file: &&File| digests.get(file.name).copied() != DIGESTS.get(file.name).map(String::as_str);
    Ok((files().filter(differs).collect(), newer))
}

/// Applies the files that differ. Functions in one
/// transaction and views in another, which takes the locks of all views first.
///
/// # Errors
/// When the database does not answer, or refuses one of them (the transaction is rolled back), or
/// a later program has applied its own; nothing has changed then.
pub(super) async fn apply(pool: &PgPool) -> Result<(), MigrateError> {
    let mut tries = 1;
    loop {
        match apply_once(pool).await {
            Err((file, error)) if lost_to_others(&error) && tries < TRIES => {
                tracing::warn!(file, "today's functions and views did not get a lock in time; they are tried again");
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err((file, error)) => return Err(MigrateError::Source(format!("{file}: {error}").into())),
            Ok(()) => return Ok(()),
        }
    }
}

async fn apply_once(pool: &PgPool) -> Result<(), (&'static str, sqlx::Error)> {
    let own = owner(pool).await.map_err(|error| ("migrations/current", error))?;
    let mut ended = Ok(());
    for part in [Part::Functions, Part::Views] {
        if ended.is_ok() {
            ended = apply_part(&own, part).await;
        }
    }
    own.close().await;
    ended
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Functions,
    Views,
}

impl Part {
    fn has(self, file: &File) -> bool {
        file.name.starts_with("functions/") == (self == Part::Functions)
    }

    /// Bodies of functions are not looked at, which may call what comes after them.
    const fn first(self) -> &'static str {
        match self {
            Part::Functions => "SET LOCAL check_function_bodies = off",
            Part::Views => LOCK_VIEWS,
        }
    }
}

async fn apply_part(own: &PgPool, part: Part) -> Result<(), (&'static str, sqlx::Error)> {
    let at = |error| ("migrations/current", error);
    let mut transaction = own.begin().await.map_err(at)?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('longhaul.current', 0))")
        .execute(&mut *transaction)
        .await
        .map_err(at)?;
    let (missing, newer) = missing(&mut transaction).await.map_err(at)?;
    let missing: Vec<&File> = missing.into_iter().filter(|file| part.has(file)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if newer {
        return Err(at(sqlx::Error::Configuration(
            "the database has the functions and views of a later program, which an earlier one leaves as they are"
                .into(),
        )));
    }
    sqlx::raw_sql(part.first()).execute(&mut *transaction).await.map_err(at)?;
    for file in missing {
        let applied = async {
            sqlx::raw_sql(file.sql).execute(&mut *transaction).await?;
            sqlx::query(
                "INSERT INTO longhaul.current (file, digest, edition) VALUES ($1, $2, $3)
                     ON CONFLICT (file) DO UPDATE
                    SET digest = excluded.digest, edition = excluded.edition, applied_at = excluded.applied_at",
            )
            .bind(file.name)
            .bind(DIGESTS.get(file.name))
            .bind(edition())
            .execute(&mut *transaction)
            .await
        };
        applied.await.map_err(|error| (file.name, error))?;
    }
    transaction.commit().await.map_err(at)
}
