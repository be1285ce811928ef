//! `POST /api/externalsystemlink/{externalSystemLinkId}/ticket/{ticketId}/link`:
//! the `StartCreateIncident` link of a ticket search result. Starts a
//! `CreateTicketLink`.

use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::openapi::{guid, text};
use longhaul_api::{
    ApiError, App, Caller, Operation, StartTask, TaskBody, accepted_response, idempotency_key, must_accept_json,
};
use longhaul_model::{Progress, TaskOptions, TaskType};
use serde_json::json;

use crate::CreateTicketLink;

pub(super) fn operation() -> Operation {
    Operation::new("Tickets", "startCreateIncident", "Starts a `CreateTicketLink` task for a ticket.")
        .description("The `StartCreateIncident` link of a ticket search result. The request body is ignored.")
        .path("externalSystemLinkId", "The project's connection to the tracker.", guid())
        .path("ticketId", "The tracker's internal id of the ticket.", text())
        .starts_tasks(Some(CreateTicketLink::NAME))
        .idempotent()
        .negotiated()
        .answers::<TaskBody>(202, "The new task.")
        .with_header("Location", "The task's address.")
}

/// `202` with nothing done yet (contract, "Endpoints": 0 of 0, no message),
/// unlike the same task started directly. A body is not read.
pub(super) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    path: web::Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let (link_id, ticket_id) = path.into_inner();
    let parameters = json!({"TicketId": ticket_id, "ExternalSystemLinkId": link_id});
    let start = StartTask {
        caller: &caller,
        after: Vec::new(),
        type_name: CreateTicketLink::NAME,
        parameters,
        run_at: None,
        timing: None,
        idempotency_key: idempotency_key(&request)?,
        options: TaskOptions::default(),
        progress: Some(Progress::unknown()),
    };
    let body = app.start_task(start).await?;
    Ok(accepted_response(&app, &body))
}
