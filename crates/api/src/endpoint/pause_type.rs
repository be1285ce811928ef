//! `POST /api/tasktypes/{name}/pause` and `…/resume`: holds a type's tasks,
//! whatever their queue, and lets them go.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use longhaul_model::store::task_type::KnownType;

use super::list_types::TypeBody;
use crate::access::permission::EDIT_QUEUES;
use crate::error::UNKNOWN_TYPE;
use crate::openapi::text;
use crate::{Access, ApiError, App, Caller, Operation, json_response};

pub(super) fn pause_operation() -> Operation {
    operation("pauseType", "Pauses a task type in all queues. Running tasks continue.")
}

pub(super) fn resume_operation() -> Operation {
    operation("resumeType", "Resumes a paused task type.")
}

fn operation(id: &'static str, summary: &'static str) -> Operation {
    Operation::new("Queues", id, summary)
        .notes_itself()
        .needs(Access::Permission(EDIT_QUEUES))
        .path("name", "The type's name; case matters.", text())
        .answers::<TypeBody>(200, "The changed type.")
        .problem(UNKNOWN_TYPE)
}

pub(super) async fn pause(
    app: web::Data<App>,
    caller: Caller,
    name: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    handle(&app, &caller, &name, true).await
}

pub(super) async fn resume(
    app: web::Data<App>,
    caller: Caller,
    name: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    handle(&app, &caller, &name, false).await
}

/// `200`; tasks that run go on.
async fn handle(app: &App, caller: &Caller, name: &str, paused: bool) -> Result<HttpResponse, ApiError> {
    let entry = app.inner.registry.get(name).map_err(|unknown| ApiError::new(UNKNOWN_TYPE, format!("{unknown}.")))?;
    let info = entry.info();
    app.pause_type(caller, info.name, paused).await?;
    let body = TypeBody::from(KnownType { name: info.name.to_owned(), queue: info.queue.to_owned(), paused });
    Ok(json_response(StatusCode::OK, &body))
}
