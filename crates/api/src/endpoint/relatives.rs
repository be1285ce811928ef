//! `GET /api/backgroundtask/{id}/children` and `…/dependencies`: the tasks that
//! one is tied to.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::linked::{IfFailed, Relative, children as read_children, dependents, prerequisites};
use longhaul_model::{ParameterError, Problem, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::get_task::{find, public_id};
use crate::error::{INVALID_REQUEST, UNKNOWN_TASK};
use crate::negotiation::must_accept_json;
use crate::openapi::integer;
use crate::{ApiError, App, Operation, json_response};

/// A page has at most this many tasks.
const LIMIT: i64 = 1_000;
const USUAL: i64 = 100;

/// Which children: those after this number, and how many.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    after: Option<i32>,
    limit: Option<i64>,
}

/// A task that another one is tied to.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "Relative")]
struct RelativeBody {
    id: String,
    #[serde(rename = "Self")]
    self_url: String,
    #[serde(rename = "Type")]
    type_name: String,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    if_failed: Option<IfFailed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Problem")]
    error: Option<Value>,
}

/// A page of children.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "Children")]
struct ChildrenBody {
    items: Vec<RelativeBody>,
    /// The address of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The tasks that one is tied to by dependencies.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "Dependencies")]
struct DependenciesBody {
    /// What it waits or waited for.
    after: Vec<RelativeBody>,
    /// What waits or waited for it.
    before: Vec<RelativeBody>,
}

pub(super) fn children_operation() -> Operation {
    Operation::new("Tasks", "listChildren", "The tasks that are a task's parts, in order, a page at a time.")
        .path("id", "The task's `Id`; case does not matter.", public_id())
        .query("after", "Those after this number.", integer(0, i64::from(i32::MAX), 0))
        .query("limit", "How many.", integer(1, LIMIT, USUAL))
        .negotiated()
        .answers::<ChildrenBody>(200, "A page of children.")
        .problem(INVALID_REQUEST)
        .problem(UNKNOWN_TASK)
}

pub(super) fn dependencies_operation() -> Operation {
    Operation::new("Tasks", "listDependencies", "What a task waits for, and what waits for it.")
        .path("id", "The task's `Id`; case does not matter.", public_id())
        .negotiated()
        .answers::<DependenciesBody>(200, "The first 1,000 of each.")
        .problem(UNKNOWN_TASK)
}

/// `200` with the task's children in order, a page at a time.
pub(crate) async fn children(
    app: web::Data<App>,
    id: web::Path<String>,
    page: Result<web::Query<Page>, actix_web::Error>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let wrong = |pointer: &str, message: String| {
        ApiError::invalid_request(vec![ParameterError { pointer: pointer.to_owned(), message }])
    };
    let page = page.map_err(|error| wrong("", format!("The query takes after and limit, both numbers: {error}.")))?;
    let limit = page.limit.unwrap_or(USUAL);
    if !(1..=LIMIT).contains(&limit) {
        return Err(wrong("limit", format!("A number from 1 to {LIMIT} is expected.")));
    }
    let (guid, body) = find(&app, &id).await?;
    let children = read_children(app.pool(), guid, page.after.unwrap_or(0), limit).await?;
    let last = children.last().and_then(|child| child.number);
    let next = last
        .filter(|_| i64::try_from(children.len()).is_ok_and(|count| count == limit))
        .map(|last| format!("{}/children?after={last}&limit={limit}", body.self_url));
    let items = children.into_iter().map(|child| shown(&app, child)).collect();
    Ok(json_response(StatusCode::OK, &ChildrenBody { items, next }))
}

/// `200` with what the task waits for and what waits for it, the first 1,000 of each.
pub(crate) async fn dependencies(
    app: web::Data<App>,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let (guid, _) = find(&app, &id).await?;
    let after = prerequisites(app.pool(), guid, Uuid::nil(), LIMIT).await?;
    let before = dependents(app.pool(), guid, Uuid::nil(), LIMIT).await?;
    let all = |list: Vec<Relative>| list.into_iter().map(|one| shown(&app, one)).collect();
    Ok(json_response(StatusCode::OK, &DependenciesBody { after: all(after), before: all(before) }))
}

fn shown(app: &App, relative: Relative) -> RelativeBody {
    let self_url = format!("{}/api/backgroundtask/{}", app.base_url(), relative.public_id);
    RelativeBody {
        self_url,
        id: relative.public_id,
        type_name: relative.type_name,
        state: relative.state,
        number: relative.number,
        if_failed: relative.if_failed,
        result: relative.result.map(longhaul_model::Report::from_stored).and_then(|report| report.result),
        error: relative.error,
    }
}
