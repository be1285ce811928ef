//! `GET /api/search?q=…&project=…&limit=…&offset=…`: finds entities by their
//! words, in the index that the last Reindex built.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::openapi::{guid, integer, text};
use longhaul_api::record::not_found;
use longhaul_api::{Access, ApiError, App, Caller, Link, Operation, json_response};
use longhaul_model::ParameterError;
use longhaul_model::schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::permission::VIEW_RECORDS;
use crate::problem::UNKNOWN_PROJECT;
use crate::search::{Hit, SearchRequest, search};
use longhaul_api::percent_encoded;

/// How many hits a page has, unless asked otherwise.
const DEFAULT_LIMIT: i64 = 20;
const MOST: i64 = 100;
/// Further than this nobody pages; a better query is asked for.
const FURTHEST: i64 = 10_000;

/// A page of hits, best first.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars", rename = "SearchResult")]
struct SearchBody {
    query: String,
    /// Hits on all pages.
    total: i64,
    limit: i64,
    offset: i64,
    /// The oldest index that was searched; null if there is none yet.
    #[schemars(with = "Option<longhaul_model::chrono::DateTime<longhaul_model::chrono::Utc>>")]
    indexed_at: Option<String>,
    items: Vec<Item>,
    links: Vec<Link>,
}

/// An entity that was found.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars", rename = "Hit")]
struct Item {
    id: Uuid,
    project_id: Uuid,
    kind: String,
    key: String,
    name: String,
    rank: f32,
}

impl From<Hit> for Item {
    fn from(hit: Hit) -> Self {
        Self { id: hit.id, project_id: hit.project_id, kind: hit.kind, key: hit.key, name: hit.name, rank: hit.rank }
    }
}

pub(super) fn operation() -> Operation {
    Operation::new("Search", "search", "Finds entities by their words, in the index of the last Reindex.")
        .needs(Access::Somewhere(VIEW_RECORDS))
        .required_query("q", "All words must occur; `\"a phrase\"`, `or`, `-not`. At most 1,000 bytes.", text())
        .query("project", "Only entities of this project.", guid())
        .query("limit", "Hits on a page.", integer(1, MOST, DEFAULT_LIMIT))
        .query("offset", "Number of hits to skip.", integer(0, FURTHEST, 0))
        .answers::<SearchBody>(200, "A page.")
        .problem(not_found(UNKNOWN_PROJECT))
}

pub(super) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let asked = Asked::parse(request.query_string())?;
    match asked.project_id {
        // Before anyone looks whether there is such a project.
        Some(project_id) if !caller.may_in(VIEW_RECORDS, project_id) => return Err(unknown_project(project_id)),
        Some(project_id) => known_project(&app, project_id).await?,
        None => caller.require(VIEW_RECORDS)?,
    }
    let hits = search(
        app.pool(),
        SearchRequest { query: &asked.query, project_id: asked.project_id, limit: asked.limit, offset: asked.offset },
    )
    .await?;
    let mut links = vec![asked.link(&app, "Self", asked.offset)];
    if asked.offset + asked.limit < hits.total && asked.offset + asked.limit <= FURTHEST {
        links.push(asked.link(&app, "Next", asked.offset + asked.limit));
    }
    if asked.offset > 0 {
        links.push(asked.link(&app, "Previous", (asked.offset - asked.limit).max(0)));
    }
    let body = SearchBody {
        total: hits.total,
        limit: asked.limit,
        offset: asked.offset,
        indexed_at: hits.indexed_at.map(|at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string()),
        items: hits.page.into_iter().map(Item::from).collect(),
        links,
        query: asked.query,
    };
    Ok(json_response(StatusCode::OK, &body))
}

async fn known_project(app: &App, project_id: Uuid) -> Result<(), ApiError> {
    let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM records.project WHERE id = $1)")
        .bind(project_id)
        .fetch_one(app.pool())
        .await?;
    if known { Ok(()) } else { Err(unknown_project(project_id)) }
}

fn unknown_project(project_id: Uuid) -> ApiError {
    ApiError::new(not_found(UNKNOWN_PROJECT), format!("There is no project {project_id}."))
}

#[derive(Debug, PartialEq)]
struct Asked {
    query: String,
    project_id: Option<Uuid>,
    limit: i64,
    offset: i64,
}

impl Asked {
    /// Reads the query string and lists everything that is wrong with it.
    fn parse(query_string: &str) -> Result<Self, ApiError> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(query_string)
            .map(web::Query::into_inner)
            .unwrap_or_default();
        let mut asked = Asked { query: String::new(), project_id: None, limit: DEFAULT_LIMIT, offset: 0 };
        let mut errors = Vec::new();
        let mut complain =
            |name: &str, message: String| errors.push(ParameterError { pointer: name.to_owned(), message });
        for (name, value) in pairs {
            match name.as_str() {
                "q" => asked.query = value,
                "project" => match Uuid::try_parse(&value) {
                    Ok(project_id) => asked.project_id = Some(project_id),
                    Err(_) => complain("project", "A guid is expected.".to_owned()),
                },
                "limit" => match value.parse() {
                    Ok(limit) if (1..=MOST).contains(&limit) => asked.limit = limit,
                    _ => complain("limit", format!("A number from 1 to {MOST} is expected.")),
                },
                "offset" => match value.parse() {
                    Ok(offset) if (0..=FURTHEST).contains(&offset) => asked.offset = offset,
                    _ => complain("offset", format!("A number from 0 to {FURTHEST} is expected.")),
                },
                other => complain(
                    &other.chars().take(100).collect::<String>(),
                    "Unknown; the known ones are q, project, limit, offset.".to_owned(),
                ),
            }
        }
        if asked.query.trim().is_empty() {
            complain("q", "Required: the words to search for.".to_owned());
        } else if asked.query.len() > 1_000 || asked.query.contains('\0') {
            complain("q", "At most 1,000 bytes, without U+0000, are expected.".to_owned());
        }
        if errors.is_empty() { Ok(asked) } else { Err(ApiError::invalid_request(errors)) }
    }

    fn link(&self, app: &App, rel: &str, offset: i64) -> Link {
        let query = percent_encoded(&self.query);
        let project = self.project_id.map(|project_id| format!("&project={project_id}")).unwrap_or_default();
        Link {
            href: format!("{}/api/search?q={query}{project}&limit={}&offset={offset}", app.base_url(), self.limit),
            rel: rel.to_owned(),
        }
    }
}
