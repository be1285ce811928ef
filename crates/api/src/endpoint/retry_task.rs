//! `POST /api/backgroundtask/{id}/retry`: runs a failed or cancelled task again.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use longhaul_model::store::cancel::{Retried, retry};

use super::get_task::{find, unknown};
use crate::error::{TASK_ENDED, TASK_OPEN, UNIQUE_TASK_EXISTS};
use crate::{ApiError, App, json_response};

/// `202` with the body; it goes on from its last checkpoint. `409` if the task is
/// not over, or succeeded.
pub(crate) async fn handle(app: web::Data<App>, id: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let (guid, _) = find(&app, &id).await?;
    match retry(app.pool(), guid).await?.ok_or_else(|| unknown(&id))? {
        Retried::Queued => Ok(json_response(StatusCode::ACCEPTED, &find(&app, &id).await?.1)),
        Retried::Open => {
            Err(ApiError::new(TASK_OPEN, "Only what failed or was cancelled can be run again; this is not over."))
        }
        Retried::Succeeded => Err(ApiError::new(TASK_ENDED, "It succeeded; start a new task instead.")),
        Retried::Taken => {
            Err(ApiError::new(UNIQUE_TASK_EXISTS, "Another open task has its unique key; wait for that one's end."))
        }
    }
}
