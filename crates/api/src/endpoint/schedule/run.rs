//! `POST /api/schedules/{name}/run`: starts a schedule's task now.

use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::split_public_id;
use longhaul_model::store::cron;
use longhaul_model::store::read::maker;
use serde_json::json;

use super::named;
use crate::error::{AfterChange, UNIQUE_TASK_EXISTS};
use crate::negotiation::must_accept_json;
use crate::schedule::just_changed;
use crate::start::taken_by_other;
use crate::{ApiError, App, Caller, Operation, TaskBody, accepted_response};

pub(super) fn operation() -> Operation {
    named(
        "runSchedule",
        "Starts a schedule's task now, in addition to its firings, even if it is paused. The next firing does not \
         change.",
    )
    .prepares_tasks()
    .stores_tasks()
    .negotiated()
    .answers::<TaskBody>(202, "The task; if its type has a unique key and such a task is open, that task.")
    .with_header("Location", "The task's address.")
    .problem(UNIQUE_TASK_EXISTS)
}

/// `202` with the task's body.
pub(super) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    name: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let starts = app.startable(&caller, &name).await?;
    app.must_have_room(&starts.queue)?;
    let mut transaction = app.pool().begin().await?;
    let public_id = cron::run(&mut *transaction, &name, &starts).await?.ok_or_else(just_changed)?;
    let id = split_public_id(&public_id).map(|(_, id)| id).ok_or_else(|| ApiError::internal(public_id.clone()))?;
    // If its type allows one at a time, it may be anyone's.
    let own = format!("schedule:{}", *name);
    let made_by = maker(&mut *transaction, id).await?;
    if made_by.as_deref() != Some(own.as_str()) && !caller.sees(made_by.as_deref()) {
        return Err(taken_by_other());
    }
    caller.note(&mut transaction, "runSchedule", &name, Some(json!({"Task": public_id}))).await?;
    transaction.commit().await?;
    Ok(accepted_response(&app, &app.read_task(id).await.after_change()?))
}
