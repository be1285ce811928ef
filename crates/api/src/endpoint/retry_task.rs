//! `POST /api/backgroundtask/{id}/retry`: runs a failed or cancelled task again.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use longhaul_model::store::cancel::Retried;
use longhaul_model::store::read;

use super::get_task::{find_managed, public_id, unknown};
use crate::error::{AfterChange, TASK_ENDED, TASK_OPEN, UNIQUE_TASK_EXISTS, UNKNOWN_TASK};
use crate::{ApiError, App, Caller, Operation, TaskBody, json_response};

pub(super) fn operation() -> Operation {
    Operation::new("Tasks", "retryTask", "Retries a failed or cancelled task from its last checkpoint.")
        .notes_itself()
        .path("id", "The task's `Id`; case does not matter.", public_id())
        .answers::<TaskBody>(202, "It is queued.")
        .prepares_tasks()
        .problem(UNKNOWN_TASK)
        .problem(TASK_OPEN)
        .problem(TASK_ENDED)
        .problem(UNIQUE_TASK_EXISTS)
}

/// `202` with the body; it goes on from its last checkpoint. `409` if the task is
/// not over, or succeeded. Who runs its own task again must have the permissions that
/// starting it takes now.
pub(crate) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let (task, id_prefix) = find_managed(&app, &caller, &id).await?;
    match app.retry_found(&caller, &task, id_prefix).await?.ok_or_else(|| unknown(&id))? {
        Retried::Queued => {
            let task = read::task(app.pool(), task.id).await.after_change()?.ok_or_else(|| unknown(&id))?;
            Ok(json_response(StatusCode::ACCEPTED, &TaskBody::new(task, id_prefix, app.base_url())))
        }
        Retried::Open => {
            Err(ApiError::new(TASK_OPEN, "It has not completed; only failed or cancelled tasks can be retried."))
        }
        Retried::Succeeded => Err(ApiError::new(TASK_ENDED, "It succeeded; start a new task instead.")),
        Retried::Taken => Err(ApiError::new(
            UNIQUE_TASK_EXISTS,
            "Another open task has its unique key; wait until that task completes.",
        )),
        Retried::Exhausted => {
            Err(ApiError::new(TASK_ENDED, "It has reached the maximum of 32,767 attempts; start a new task instead."))
        }
    }
}
