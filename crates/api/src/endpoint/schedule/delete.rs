//! `DELETE /api/schedules/{name}`: removes a schedule.

use actix_web::{HttpResponse, web};
use longhaul_model::store::cron;

use super::{must_be_name, named, unknown};
use crate::{ApiError, App, Caller, Operation};

pub(super) fn operation() -> Operation {
    named("deleteSchedule", "Deletes a schedule. Its tasks remain.").answers_nothing(204, "It was deleted.")
}

/// `204`; its tasks stay. `404` if there is no schedule of that name.
pub(super) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    name: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    must_be_name(&name)?;
    let mut transaction = app.pool().begin().await?;
    if !cron::delete(&mut *transaction, &name).await? {
        return Err(unknown(&name));
    }
    caller.note(&mut transaction, "deleteSchedule", &name, None).await?;
    transaction.commit().await?;
    Ok(HttpResponse::NoContent().finish())
}
