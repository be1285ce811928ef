//! `DELETE /api/backgroundtask/{id}`: cancels a task.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use longhaul_model::State;
use longhaul_model::store::cancel::Cancelled;
use longhaul_model::store::read;

use super::get_task::{find_managed, public_id, unknown};
use crate::error::{AfterChange, FORBIDDEN, TASK_ENDED, UNKNOWN_TASK};
use crate::{ApiError, App, Caller, Operation, TaskBody, json_response};

pub(super) fn operation() -> Operation {
    Operation::new("Tasks", "cancelTask", "Cancels a task.")
        .notes_itself()
        .path("id", "The task's `Id`; case does not matter.", public_id())
        .answers::<TaskBody>(200, "It is cancelled.")
        .answers::<TaskBody>(202, "It is running, and its worker has been asked to stop it.")
        .problem(FORBIDDEN)
        .problem(UNKNOWN_TASK)
        .problem(TASK_ENDED)
}

/// `200` with the body if it is cancelled now (or was before), `202` if it runs
/// and its worker has been asked to stop it, `409` if it ended otherwise.
pub(crate) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let (task, id_prefix) = find_managed(&app, &caller, &id).await?;
    let outcome = app.cancel_found(&caller, &task, id_prefix).await?.ok_or_else(|| unknown(&id))?;
    let task = read::task(app.pool(), task.id).await.after_change()?.ok_or_else(|| unknown(&id))?;
    let body = TaskBody::new(task, id_prefix, app.base_url());
    match outcome {
        Cancelled::Requested if !body.complete => Ok(json_response(StatusCode::ACCEPTED, &body)),
        _ if body.state == State::Cancelled => Ok(json_response(StatusCode::OK, &body)),
        _ => Err(ApiError::new(TASK_ENDED, format!("It completed as {} before it could be cancelled.", body.state))),
    }
}
