//! Cron schedules, one file an endpoint.

mod delete;
mod get;
mod list;
mod pause;
mod post;
mod put;
mod resume;
mod run;

use longhaul_model::store::cron;

use crate::access::permission::EDIT_SCHEDULES;
use crate::error::UNKNOWN_SCHEDULE;
use crate::openapi::{Resource, Routes, text};
use crate::schedule::{ScheduleBody, must_be_name, unknown};
use crate::{Access, ApiError, App, Operation};

pub(super) fn add(routes: &mut Routes) {
    routes
        .add(Resource::at("/api/schedules").get(list::handle, list::operation()).post(post::handle, post::operation()));
    routes.add(
        Resource::at("/api/schedules/{name}")
            .get(get::handle, get::operation())
            .put(put::handle, put::operation())
            .delete(delete::handle, delete::operation()),
    );
    routes.add(Resource::at("/api/schedules/{name}/pause").post(pause::handle, pause::operation()));
    routes.add(Resource::at("/api/schedules/{name}/resume").post(resume::handle, resume::operation()));
    routes.add(Resource::at("/api/schedules/{name}/run").post(run::handle, run::operation()));
}

/// An operation on the schedule that the address names. What it changes it writes down itself.
fn named(id: &'static str, summary: &'static str) -> Operation {
    Operation::new("Schedules", id, summary)
        .notes_itself()
        .needs(Access::Permission(EDIT_SCHEDULES))
        .path("name", "The schedule's name; case matters.", text())
        .problem(UNKNOWN_SCHEDULE)
}

/// The schedule as it is now, or 404.
async fn body(app: &App, name: &str) -> Result<ScheduleBody, ApiError> {
    must_be_name(name)?;
    let schedule = cron::schedule(app.pool(), name).await?.ok_or_else(|| unknown(name))?;
    Ok(ScheduleBody::new(schedule, app.base_url()))
}
