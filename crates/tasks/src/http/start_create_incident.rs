//! `POST /api/externalsystemlink/{externalSystemLinkId}/ticket/{ticketId}/link`:
//! the `StartCreateIncident` link of a ticket search result. Starts a
//! `CreateTicketLink`.

use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::{ApiError, App, StartTask, accepted_response, idempotency_key, must_accept_json};
use longhaul_model::{Progress, TaskType};
use serde_json::json;

use crate::CreateTicketLink;

/// `202` with nothing done yet (contract, "Endpoints": 0 of 0, no message),
/// unlike the same task started directly. A body is not read.
pub(super) async fn handle(
    app: web::Data<App>,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let (link_id, ticket_id) = path.into_inner();
    let parameters = json!({"TicketId": ticket_id, "ExternalSystemLinkId": link_id});
    let start = StartTask {
        type_name: CreateTicketLink::NAME,
        parameters,
        run_at: None,
        timing: None,
        idempotency_key: idempotency_key(&request)?,
        progress: Some(Progress::unknown()),
    };
    let body = app.start_task(start).await?;
    Ok(accepted_response(&body))
}
