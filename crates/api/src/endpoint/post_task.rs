//! `POST /api/backgroundtasks`: starts a task.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::error::INVALID_REQUEST;
use crate::negotiation::{idempotency_key, read_json};
use crate::start::accepted_response;
use crate::task_request::TaskRequest;
use crate::{ApiError, App, StartTask};

/// `202` with the body and `Location`, sent after the task is durable.
pub(crate) async fn handle(
    app: web::Data<App>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let wanted = parse(read_json(&app, &request, body)?, app.now())?;
    let start = StartTask {
        type_name: &wanted.type_name,
        parameters: wanted.parameters,
        run_at: wanted.run_at,
        timing: wanted.timing,
        idempotency_key: idempotency_key(&request)?,
        progress: None,
    };
    Ok(accepted_response(&app.start_task(start).await?))
}

/// The request, or everything that is wrong with its envelope.
fn parse(json: Value, now: DateTime<Utc>) -> Result<TaskRequest, ApiError> {
    if !json.is_object() {
        return Err(ApiError::new(INVALID_REQUEST, "The body must be an object with Type and Parameters."));
    }
    let mut errors = Vec::new();
    TaskRequest::read(json, "", now, &mut errors).ok_or_else(|| ApiError::invalid_request(errors))
}
