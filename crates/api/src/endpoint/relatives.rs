//! `GET /api/backgroundtask/{id}/children` and `…/dependencies`: the tasks that
//! one is tied to.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::linked::{IfFailed, Relative, children as read_children, dependents, prerequisites};
use longhaul_model::{Problem, State, TaskAddress};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::get_task::{find, public_id};
use crate::error::{INVALID_REQUEST, UNKNOWN_TASK};
use crate::negotiation::must_accept_json;
use crate::openapi::integer;
use crate::page::{LIMIT, LIMIT_AT_MOST, Page};
use crate::{ApiError, App, Caller, Operation, json_response};

/// So many dependencies are shown in each direction.
const SHOWN: i64 = 1_000;

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
    /// Its dependencies.
    after: Vec<RelativeBody>,
    /// Its dependents.
    before: Vec<RelativeBody>,
}

pub(super) fn children_operation() -> Operation {
    Operation::new("Tasks", "listChildren", "Lists a task's children in order, by page.")
        .path("id", "The task's `Id`; case does not matter.", public_id())
        .query("after", "Those after this number.", integer(0, i64::from(i32::MAX), 0))
        .query("limit", "How many.", integer(1, LIMIT_AT_MOST.into(), LIMIT.into()))
        .negotiated()
        .answers::<ChildrenBody>(200, "A page of children.")
        .problem(INVALID_REQUEST)
        .problem(UNKNOWN_TASK)
}

pub(super) fn dependencies_operation() -> Operation {
    Operation::new("Tasks", "listDependencies", "Lists a task's dependencies and dependents.")
        .path("id", "The task's `Id`; case does not matter.", public_id())
        .negotiated()
        .answers::<DependenciesBody>(200, "The first 1,000 of each.")
        .problem(UNKNOWN_TASK)
}

/// `200` with the task's children in order, a page at a time, but for those that the
/// caller may not see.
pub(crate) async fn children(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let page = Page::<i32>::read(&request)?;
    let limit = page.limit;
    let (guid, body) = find(&app, &caller, &id).await?;
    let mut children = read_children(app.pool(), guid, page.after, i64::from(limit) + 1).await?;
    let more = page.cut(&mut children);
    let next = children
        .last()
        .and_then(|child| child.number)
        .filter(|_| more)
        .map(|last| format!("{}/children?after={last}&limit={limit}", body.self_url));
    let items = children
        .into_iter()
        .filter(|child| caller.sees(child.created_by.as_deref()))
        .map(|child| shown(&app, child))
        .collect();
    Ok(json_response(StatusCode::OK, &ChildrenBody { items, next }))
}

/// `200` with what the task waits for and what waits for it, the first 1,000 of each.
pub(crate) async fn dependencies(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let (guid, _) = find(&app, &caller, &id).await?;
    let after = prerequisites(app.pool(), guid, Uuid::nil(), SHOWN).await?;
    let before = dependents(app.pool(), guid, Uuid::nil(), SHOWN).await?;
    let seen = |one: &Relative| caller.sees(one.created_by.as_deref());
    let all = |list: Vec<Relative>| list.into_iter().filter(seen).map(|one| shown(&app, one)).collect();
    Ok(json_response(StatusCode::OK, &DependenciesBody { after: all(after), before: all(before) }))
}

fn shown(app: &App, relative: Relative) -> RelativeBody {
    let self_url = TaskAddress::BackgroundTask.of(app.base_url(), &relative.public_id);
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
