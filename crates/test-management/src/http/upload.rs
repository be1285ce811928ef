//! `/api/uploads`: files that tasks read. `POST /api/upload` takes
//! the raw bytes; `?name=…` gives them a name. A file is its uploader's.

use actix_web::web;
use actix_web::{HttpRequest, HttpResponse};
use longhaul_api::openapi::text;
use longhaul_api::record::{self, BelongsTo, Permissions, Record, Shown};
use longhaul_api::{
    Access, ApiError, App, Caller, Operation, Resource, Routes, must_accept_json, must_send_bytes, unreadable,
};
use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::schemars::JsonSchema;
use longhaul_model::{ParameterError, ProblemKind};
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::permission::{EDIT_AUTOMATED_TESTS, MANAGE_UPLOADS, VIEW_RECORDS};
use crate::problem::{TOO_MANY_UPLOADS, UNKNOWN_UPLOAD};

/// A file may have this many bytes.
const LIMIT: usize = 32 * 1024 * 1024;
/// One caller may have stored so many files …
const FILES_AT_MOST: i64 = 1_000;
/// … of so many bytes in all.
const BYTES_AT_MOST: i64 = 2 * 1024 * 1024 * 1024;

/// A file as the API shows it, without its content.
#[derive(Serialize, FromRow, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars")]
pub(super) struct Upload {
    id: Uuid,
    name: String,
    bytes: i64,
    created_at: DateTime<Utc>,
}

impl Record for Upload {
    const ONE: &'static str = "upload";
    const MANY: &'static str = "uploads";
    const WORDS: (&'static str, &'static str) = ("an upload", "uploads");
    const SELECT: &'static str =
        "SELECT r.id, r.name, length(r.content)::bigint AS bytes, r.created_at FROM records.upload AS r";
    const DELETE: Option<&'static str> = Some("DELETE FROM records.upload WHERE id = $1");
    const PERMISSIONS: Permissions = Permissions { view: VIEW_RECORDS, edit: EDIT_AUTOMATED_TESTS };
    const BELONGS: BelongsTo = BelongsTo::Maker { column: "r.created_by", others: MANAGE_UPLOADS };
    const UNKNOWN: ProblemKind = UNKNOWN_UPLOAD;

    fn id(&self) -> Uuid {
        self.id
    }
}

pub(super) fn add(routes: &mut Routes) {
    routes.add(Resource::at("/api/upload").body_limit(LIMIT).post(create, operation()));
    record::add::<Upload>(routes);
}

fn operation() -> Operation {
    Operation::new("Records", "createUpload", "Stores a file for a task.")
        .notes_itself()
        .needs(Access::Somewhere(EDIT_AUTOMATED_TESTS))
        .query("name", "The name of the file.", text())
        .reads_bytes("The content of the file, at most 32 MiB.")
        .problem(TOO_MANY_UPLOADS)
        .negotiated()
        .answers::<Shown<Upload>>(201, "The file, without its content.")
        .with_header("Location", "The file's address.")
}

/// `201` with the file's id.
async fn create(
    app: web::Data<App>,
    caller: Caller,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    must_send_bytes(&request)?;
    let name = parse(request.query_string())?;
    let content = body.map_err(|error| unreadable(&error, LIMIT))?;
    let (bytes, content) = (i64::try_from(content.len()).unwrap_or(i64::MAX), content.to_vec());
    let id = Uuid::now_v7();
    let mut transaction = app.pool().begin().await?;
    // Lengths are read without the contents.
    let created_at: Option<DateTime<Utc>> = sqlx::query_scalar(
        "INSERT INTO records.upload (id, name, content, created_by)
         SELECT $1, $2, $3, $4
           FROM (SELECT count(*) AS files, coalesce(sum(length(u.content)), 0) AS bytes
                   FROM records.upload u WHERE u.created_by = $4) AS own
          WHERE own.files < $5 AND own.bytes + $6 <= $7
         RETURNING created_at",
    )
    .bind(id)
    .bind(&name)
    .bind(content)
    .bind(caller.created_by())
    .bind(FILES_AT_MOST)
    .bind(bytes)
    .bind(BYTES_AT_MOST)
    .fetch_optional(&mut *transaction)
    .await?;
    let created_at = created_at.ok_or_else(|| {
        let detail = format!(
            "A caller may store at most {FILES_AT_MOST} files with {} MiB in total. Delete files that are no longer \
             needed.",
            BYTES_AT_MOST / 1024 / 1024
        );
        ApiError::new(TOO_MANY_UPLOADS, detail)
    })?;
    record::note::<Upload>(&caller, &mut transaction, "create", id).await?;
    transaction.commit().await?;
    record::created(&app, Upload { id, name, bytes, created_at })
}

fn parse(query_string: &str) -> Result<String, ApiError> {
    let pairs =
        web::Query::<Vec<(String, String)>>::from_query(query_string).map(web::Query::into_inner).unwrap_or_default();
    let (mut name, mut errors) = ("upload".to_owned(), Vec::new());
    for (key, value) in pairs {
        let message = if key != "name" {
            "Unknown; the known one is name."
        } else if value.is_empty() || value.len() > 200 || value.contains('\0') {
            "1 to 200 bytes, without U+0000, are expected."
        } else {
            name = value;
            continue;
        };
        errors.push(ParameterError { pointer: key.chars().take(100).collect(), message: message.to_owned() });
    }
    if errors.is_empty() { Ok(name) } else { Err(ApiError::invalid_request(errors)) }
}
