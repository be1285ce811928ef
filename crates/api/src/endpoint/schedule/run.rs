//! `POST /api/schedules/{name}/run`: starts a schedule's task now.

use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::split_public_id;
use longhaul_model::store::cron;

use super::{must_be_name, named, unknown};
use crate::negotiation::must_accept_json;
use crate::{ApiError, App, Caller, Operation, TaskBody, accepted_response};

pub(super) fn operation() -> Operation {
    named(
        "runSchedule",
        "Starts a schedule's task now, besides its firings: also of one that is paused; when it fires next stays.",
    )
    .negotiated()
    .answers::<TaskBody>(202, "The task; if its type allows one at a time, the one that is there.")
    .with_header("Location", "The task's address.")
}

/// `202` with the task's body.
pub(super) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    name: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    must_be_name(&name)?;
    let schedule = cron::schedule(app.pool(), &name).await?.ok_or_else(|| unknown(&name))?;
    app.must_be_allowed(&caller, &schedule.type_name, &schedule.parameters).await?;
    let public_id = cron::run(app.pool(), &name).await?.ok_or_else(|| unknown(&name))?;
    let id = split_public_id(&public_id).map(|(_, id)| id).ok_or_else(|| ApiError::internal(public_id.clone()))?;
    Ok(accepted_response(&app.read_task(id).await?))
}
