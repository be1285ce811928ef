//! `POST /api/tasktypes/{name}/pause` and `…/resume`: holds a type's tasks,
//! whatever their queue, and lets them go.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use longhaul_model::store::queue::pause_type;
use longhaul_model::store::task_type::KnownType;

use super::list_types::TypeBody;
use crate::access::permission::EDIT_QUEUES;
use crate::error::UNKNOWN_TYPE;
use crate::openapi::text;
use crate::{Access, ApiError, App, Operation, json_response};

pub(super) fn pause_operation() -> Operation {
    operation("pauseType", "Holds the tasks of a type, whatever their queue; those that run go on.")
}

pub(super) fn resume_operation() -> Operation {
    operation("resumeType", "Lets the tasks of a paused type go.")
}

fn operation(id: &'static str, summary: &'static str) -> Operation {
    Operation::new("Queues", id, summary)
        .needs(Access::Permission(EDIT_QUEUES))
        .path("name", "The type's name; case matters.", text())
        .answers::<TypeBody>(200, "The type as it is then.")
        .problem(UNKNOWN_TYPE)
}

pub(super) async fn pause(app: web::Data<App>, name: web::Path<String>) -> Result<HttpResponse, ApiError> {
    handle(app, name, true).await
}

pub(super) async fn resume(app: web::Data<App>, name: web::Path<String>) -> Result<HttpResponse, ApiError> {
    handle(app, name, false).await
}

/// `200`; tasks that run go on.
async fn handle(app: web::Data<App>, name: web::Path<String>, paused: bool) -> Result<HttpResponse, ApiError> {
    let entry = app.inner.registry.get(&name).map_err(|unknown| ApiError::new(UNKNOWN_TYPE, format!("{unknown}.")))?;
    pause_type(app.pool(), entry.info().name, paused).await?;
    let info = entry.info();
    let body = TypeBody::from(KnownType { name: info.name.to_owned(), queue: info.queue.to_owned(), paused });
    Ok(json_response(StatusCode::OK, &body))
}
