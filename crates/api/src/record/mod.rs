//! What the addresses of all records have in common, in every domain beside the queue: `GET` and
//! `POST` of the collection, `GET`, `PATCH` and `DELETE` of one, pages, links, errors.

mod belonging;
mod page;

use std::future::Future;

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web;
use actix_web::{HttpRequest, HttpResponse};
use longhaul_model::{ParameterError, ProblemKind, Shape};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use sqlx::error::DatabaseError;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, PgPool};
use uuid::Uuid;

pub use self::belonging::BelongsTo;
pub use self::page::Filter;
use self::page::{DEFAULT_LIMIT, MOST, Page};
use crate::access::{Access, Caller};
use crate::app::App;
use crate::body::Link;
use crate::error::{self, AfterChange, ApiError};
use crate::negotiation::{json_response, must_accept_json, read_json};
use crate::openapi::{Operation, Resource, Routes, guid as guid_schema, integer};

/// A record with that id, or that does the same, is there already.
pub const ALREADY_EXISTS: ProblemKind = error::ALREADY_EXISTS;

/// The host has no key to store credentials or secrets with.
pub const NO_SECRET_KEY: ProblemKind = error::NO_SECRET_KEY;

/// A kind of record, as it is shown.
pub trait Record: Serialize + JsonSchema + for<'row> FromRow<'row, PgRow> + Send + Unpin + 'static {
    /// The address of one: `/api/{ONE}/{id}`.
    const ONE: &'static str;
    /// The address of all: `/api/{MANY}`.
    const MANY: &'static str;
    /// One and many of them in words.
    const WORDS: (&'static str, &'static str);
    /// `SELECT … FROM … AS r`, with `r.id` first.
    const SELECT: &'static str;
    /// `DELETE FROM … WHERE id = $1`; what belongs to it goes with it. `None`:
    /// it goes with what it belongs to.
    const DELETE: Option<&'static str>;
    /// What a list can be narrowed down to.
    const FILTERS: &'static [Filter] = &[];
    /// Who may see them, and make, change and delete them.
    const PERMISSIONS: Permissions;
    /// Whose they are: of what the permission to see them must be held.
    const BELONGS: BelongsTo = BelongsTo::Nobody;
    /// When there is none with an id.
    const UNKNOWN: ProblemKind;

    /// Its id.
    fn id(&self) -> Uuid;

    /// Further links of one: what it is, and its path.
    fn links(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// The permissions to see records of a kind, and to make, change and delete them.
#[derive(Clone, Copy)]
pub struct Permissions {
    /// To see them.
    pub view: &'static str,
    /// To make, change and delete them.
    pub edit: &'static str,
}

/// A kind of record that clients can make.
pub trait Creatable: Record {
    /// The body of the request.
    type New: DeserializeOwned + JsonSchema + 'static;

    /// Why one may not be made, though its form is right.
    const PROBLEMS: &'static [ProblemKind] = &[ALREADY_EXISTS];

    /// The form of that body, made once.
    fn shape() -> &'static Shape<Self::New>;

    /// Stores it in this transaction; returns its id.
    fn insert(
        app: &App,
        transaction: &mut PgConnection,
        new: Self::New,
    ) -> impl Future<Output = Result<Uuid, ApiError>>;
}

/// A kind of record that clients can change.
pub trait Changeable: Record {
    /// The body of the request: what is left out stays as it is.
    type Change: DeserializeOwned + JsonSchema + 'static;

    /// Why one may not be changed, though the request's form is right.
    const CHANGE_PROBLEMS: &'static [ProblemKind] = &[];

    /// The form of that body, made once.
    fn change_shape() -> &'static Shape<Self::Change>;

    /// Changes the one with this id in this transaction; `false` if there is none.
    fn update(
        app: &App,
        transaction: &mut PgConnection,
        id: Uuid,
        change: Self::Change,
    ) -> impl Future<Output = Result<bool, ApiError>>;
}

/// Tells a member that is null from one that is left out: `Some(None)` and `None`.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// The body of an answer with one record.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{R}")]
pub struct Shown<R: JsonSchema> {
    #[serde(flatten)]
    record: R,
    #[serde(rename = "Links")]
    links: Vec<Link>,
}

/// A page of records, in the order of their ids.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "{R}List")]
struct Listed<R: JsonSchema> {
    limit: i64,
    items: Vec<Shown<R>>,
    /// `Self`, and `Next` if there is more.
    links: Vec<Link>,
}

/// Routes of records that only tasks make.
pub fn add<R: Record>(routes: &mut Routes) {
    routes.add(collection::<R>());
    routes.add(single::<R>());
}

/// Routes of records that clients make too.
pub fn add_creatable<R: Creatable>(routes: &mut Routes) {
    routes.add(collection::<R>().post(create::<R>, create_operation::<R>()));
    routes.add(single::<R>());
}

/// Routes of records that only tasks make and clients change.
pub fn add_changeable<R: Changeable>(routes: &mut Routes) {
    routes.add(collection::<R>());
    routes.add(single::<R>().patch(change::<R>, change_operation::<R>()));
}

/// Routes of records that clients make and change.
pub fn add_creatable_and_changeable<R: Creatable + Changeable>(routes: &mut Routes) {
    routes.add(collection::<R>().post(create::<R>, create_operation::<R>()));
    routes.add(single::<R>().patch(change::<R>, change_operation::<R>()));
}

fn collection<R: Record>() -> Resource {
    Resource::at(format!("/api/{}", R::MANY)).get(list::<R>, list_operation::<R>())
}

fn single<R: Record>() -> Resource {
    let one = Resource::at(format!("/api/{}/{{id}}", R::ONE)).get(read::<R>, read_operation::<R>());
    match R::DELETE {
        Some(_) => one.delete(delete::<R>, delete_operation::<R>()),
        None => one,
    }
}

/// An operation whose id is this verb and the record's name. What it changes it writes down
/// itself.
fn operation<R: Record>(verb: &str, end: &str, summary: String) -> Operation {
    Operation::new("Records", format!("{}{end}", action::<R>(verb)), summary).notes_itself()
}

fn action<R: Record>(verb: &str) -> String {
    format!("{verb}{}", R::schema_name())
}

/// Writes down what the caller does to a record, in the transaction that does it.
pub async fn note<R: Record>(
    caller: &Caller,
    transaction: &mut PgConnection,
    verb: &str,
    id: Uuid,
) -> sqlx::Result<()> {
    caller.note(transaction, &action::<R>(verb), &format!("/api/{}/{id}", R::ONE), None).await
}

fn list_operation<R: Record>() -> Operation {
    let operation = operation::<R>("list", "s", format!("Lists {} by id, by page.", R::WORDS.1))
        .query("limit", "Records on a page.", integer(1, MOST, DEFAULT_LIMIT))
        .query("after", "The last id of the previous page.", guid_schema());
    R::FILTERS
        .iter()
        .fold(operation, |operation, filter| operation.query(filter.name, "Only records of this one.", guid_schema()))
        .needs(R::BELONGS.access(R::PERMISSIONS.view))
        .negotiated()
        .answers::<Listed<R>>(200, "A page.")
}

fn create_operation<R: Creatable>() -> Operation {
    let operation = operation::<R>("create", "", format!("Creates {}.", R::WORDS.0))
        .needs(Access::Permission(R::PERMISSIONS.edit))
        .reads::<R::New>()
        .negotiated();
    R::PROBLEMS
        .iter()
        .fold(operation, |operation, kind| operation.problem(*kind))
        .answers::<Shown<R>>(201, "The record.")
        .with_header("Location", "The record's address.")
}

fn read_operation<R: Record>() -> Operation {
    operation::<R>("get", "", format!("Shows {}.", R::WORDS.0))
        .needs(R::BELONGS.access(R::PERMISSIONS.view))
        .path("id", "The record's id.", guid_schema())
        .negotiated()
        .answers::<Shown<R>>(200, "The record.")
        .problem(not_found(R::UNKNOWN))
}

fn change_operation<R: Changeable>() -> Operation {
    let operation = operation::<R>("change", "", format!("Changes {}.", R::WORDS.0))
        .needs(Access::Permission(R::PERMISSIONS.edit))
        .description("Omitted members keep their values.")
        .path("id", "The record's id.", guid_schema())
        .reads::<R::Change>()
        .negotiated();
    R::CHANGE_PROBLEMS
        .iter()
        .fold(operation, |operation, kind| operation.problem(*kind))
        .answers::<Shown<R>>(200, "The changed record.")
        .problem(not_found(R::UNKNOWN))
}

fn delete_operation<R: Record>() -> Operation {
    operation::<R>("delete", "", format!("Deletes {} and the records that belong to it.", R::WORDS.0))
        .needs(match R::BELONGS {
            BelongsTo::Maker { .. } => Access::Somewhere(R::PERMISSIONS.edit),
            _ => Access::Permission(R::PERMISSIONS.edit),
        })
        .path("id", "The record's id.", guid_schema())
        .answers_nothing(204, "It was deleted.")
        .problem(not_found(R::UNKNOWN))
}

async fn create<R: Creatable>(
    app: web::Data<App>,
    caller: Caller,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let new = R::shape().read(read_json(&app, &request, body)?).map_err(ApiError::invalid_request)?;
    let mut transaction = app.pool().begin().await?;
    let id = R::insert(&app, &mut transaction, new).await?;
    note::<R>(&caller, &mut transaction, "create", id).await?;
    transaction.commit().await?;
    let record = find::<R>(app.pool(), id).await.after_change()?.ok_or_else(|| unknown::<R>(id))?;
    created(&app, record)
}

/// `201` with a record that was just made.
pub fn created<R: Record>(app: &App, record: R) -> Result<HttpResponse, ApiError> {
    let shown = shown(record, app.base_url());
    let mut response = json_response(StatusCode::CREATED, &shown);
    if let Some(location) = shown.links.first().and_then(|link| link.href.parse().ok()) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

async fn read<R: Record>(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let id = guid::<R>(&id)?;
    let record = find_seen::<R>(&app, &caller, id).await?;
    Ok(json_response(StatusCode::OK, &shown(record, app.base_url())))
}

async fn change<R: Changeable>(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let change = R::change_shape().read(read_json(&app, &request, body)?).map_err(ApiError::invalid_request)?;
    let id = guid::<R>(&id)?;
    let mut transaction = app.pool().begin().await?;
    if !R::update(&app, &mut transaction, id, change).await? {
        return Err(unknown::<R>(id));
    }
    note::<R>(&caller, &mut transaction, "change", id).await?;
    transaction.commit().await?;
    let record = find::<R>(app.pool(), id).await.after_change()?.ok_or_else(|| unknown::<R>(id))?;
    Ok(json_response(StatusCode::OK, &shown(record, app.base_url())))
}

async fn list<R: Record>(app: web::Data<App>, caller: Caller, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let page = Page::parse(request.query_string(), R::FILTERS)?;
    let scope = R::BELONGS.scope(&caller, R::PERMISSIONS.view);
    // One more than asked for tells whether there is a next page.
    let narrowed = format!("{} AND {}", page.condition(3), scope.condition(3 + page.values().count()));
    let sql = format!("{} WHERE r.id > $1 AND {narrowed} ORDER BY r.id LIMIT $2", R::SELECT);
    let mut query = sqlx::query_as(AssertSqlSafe(sql)).bind(page.after).bind(page.limit + 1);
    for value in page.values() {
        query = query.bind(value);
    }
    let mut records: Vec<R> = scope.bound_to(query).fetch_all(app.pool()).await?;
    let more = i64::try_from(records.len()).unwrap_or(i64::MAX) > page.limit;
    records.truncate(usize::try_from(page.limit).unwrap_or(usize::MAX));
    let address = format!("{}/api/{}", app.base_url(), R::MANY);
    let mut links = vec![page.link(&address, "Self", page.after)];
    if more && let Some(last) = records.last() {
        links.push(page.link(&address, "Next", last.id()));
    }
    let items = records.into_iter().map(|record| shown(record, app.base_url())).collect();
    Ok(json_response(StatusCode::OK, &Listed { limit: page.limit, items, links }))
}

async fn delete<R: Record>(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = guid::<R>(&id)?;
    if matches!(R::BELONGS, BelongsTo::Maker { .. }) {
        find_seen::<R>(&app, &caller, id).await?;
    }
    let sql = R::DELETE.ok_or_else(|| ApiError::method_not_allowed("GET"))?;
    let mut transaction = app.pool().begin().await?;
    if sqlx::query(sql).bind(id).execute(&mut *transaction).await?.rows_affected() == 0 {
        return Err(unknown::<R>(id));
    }
    note::<R>(&caller, &mut transaction, "delete", id).await?;
    transaction.commit().await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn find<R: Record>(pool: &PgPool, id: Uuid) -> sqlx::Result<Option<R>> {
    let sql = format!("{} WHERE r.id = $1", R::SELECT);
    sqlx::query_as(AssertSqlSafe(sql)).bind(id).fetch_optional(pool).await
}

/// The one with this id, if the caller may see it: else it is not there.
async fn find_seen<R: Record>(app: &App, caller: &Caller, id: Uuid) -> Result<R, ApiError> {
    let scope = R::BELONGS.scope(caller, R::PERMISSIONS.view);
    let sql = format!("{} WHERE r.id = $1 AND {}", R::SELECT, scope.condition(2));
    let found = scope.bound_to(sqlx::query_as(AssertSqlSafe(sql)).bind(id)).fetch_optional(app.pool()).await?;
    found.ok_or_else(|| unknown::<R>(id))
}

fn shown<R: Record>(record: R, base_url: &str) -> Shown<R> {
    let own = ("Self", format!("/api/{}/{}", R::ONE, record.id()));
    let links = std::iter::once(own)
        .chain(record.links())
        .map(|(rel, path)| Link { href: format!("{base_url}{path}"), rel: rel.to_owned() })
        .collect();
    Shown { record, links }
}

/// Reads an id of a record in an address.
///
/// # Errors
/// `404` if it is not a guid in the usual form.
pub fn guid<R: Record>(id: &str) -> Result<Uuid, ApiError> {
    // Only the usual form, which is also what we answer.
    Uuid::try_parse(id)
        .ok()
        .filter(|_| id.len() == 36)
        .ok_or_else(|| unknown::<R>(id.chars().take(100).collect::<String>()))
}

/// `404`: there is no record with this id.
pub fn unknown<R: Record>(id: impl std::fmt::Display) -> ApiError {
    ApiError::new(not_found(R::UNKNOWN), format!("There is no record /api/{}/{id}.", R::ONE))
}

/// What the database's constraints say about a new record: 409 when its id or
/// what it is for is taken, 400 when it refers to something that is not there.
pub fn refused(cause: sqlx::Error) -> ApiError {
    let Some(found) = cause.as_database_error() else { return cause.into() };
    if found.is_unique_violation() {
        let detail = "A record with this Id, or for the same purpose, already exists.";
        return ApiError::new(ALREADY_EXISTS, detail);
    }
    match found.is_foreign_key_violation().then(|| missing_member(&*found)).flatten() {
        Some(member) => ApiError::invalid_request(vec![ParameterError {
            pointer: format!("/{member}"),
            message: "There is no record with this id.".to_owned(),
        }]),
        None => cause.into(),
    }
}

/// The member of a request that refers to nothing, by the name that PostgreSQL gives a foreign key:
/// `incident_project_id_fkey` of the table `incident` is `ProjectId`.
fn missing_member(error: &dyn DatabaseError) -> Option<String> {
    let column = error.constraint()?.strip_prefix(error.table()?)?.strip_prefix('_')?.strip_suffix("_fkey")?;
    let capitalized = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    Some(column.split('_').filter(|word| !word.is_empty()).map(capitalized).collect())
}

/// The same kind where something was asked for by its address: a `404`.
#[must_use]
pub const fn not_found(kind: ProblemKind) -> ProblemKind {
    ProblemKind { status: 404, ..kind }
}
