//! One file an endpoint.

mod audit;
mod book;
mod delete_task;
mod docs;
mod findings;
mod get_task;
mod health;
mod list_tasks;
mod list_types;
mod metrics;
mod openapi;
mod overview;
mod patch_queue;
mod pause_type;
mod post_batch;
mod post_task;
mod queues;
mod relatives;
mod retry_task;
mod schedule;
mod task_events;
mod task_log;
mod workers;

use actix_web::{HttpRequest, HttpResponse, web};

use crate::error::UNKNOWN_ROUTE;
use crate::openapi::{Resource, Routes, refused_as};
use crate::settings::AppSettings;
use crate::{ApiError, App};

pub(crate) use get_task::{find_managed, unknown as unknown_task};
pub(crate) use health::live;
pub(crate) use queues::find as find_queue;
pub(crate) use task_log::LineBody;

/// Every route of this crate. The contract names tasks in both numbers.
pub(crate) fn add(routes: &mut Routes, settings: &AppSettings) {
    // Before the addresses of single tasks, which would take `batch` for an id.
    routes.add(
        Resource::at("/api/backgroundtasks/batch")
            .or_at("/api/backgroundtask/batch")
            .body_limit(settings.batch_body_limit)
            .post(post_batch::handle, post_batch::operation()),
    );
    routes.add(
        Resource::at("/api/backgroundtasks")
            .or_at("/api/backgroundtask")
            .post(post_task::handle, post_task::operation()),
    );
    routes.add(
        Resource::at("/api/backgroundtask/{id}")
            .or_at("/api/backgroundtasks/{id}")
            // Only what ends like an id: other addresses below `/api` are not a task's.
            .or_at_where("/api/{id}", "id", get_task::PUBLIC_ID)
            .get(get_task::handle, get_task::operation())
            .delete(delete_task::handle, delete_task::operation()),
    );
    routes.add(
        Resource::at("/api/backgroundtask/{id}/events")
            .or_at("/api/backgroundtasks/{id}/events")
            .get(task_events::handle, task_events::operation()),
    );
    routes.add(
        Resource::at("/api/backgroundtask/{id}/log")
            .or_at("/api/backgroundtasks/{id}/log")
            .get(task_log::handle, task_log::operation()),
    );
    routes.add(
        Resource::at("/api/backgroundtask/{id}/retry")
            .or_at("/api/backgroundtasks/{id}/retry")
            .post(retry_task::handle, retry_task::operation()),
    );
    routes.add(
        Resource::at("/api/backgroundtask/{id}/children")
            .or_at("/api/backgroundtasks/{id}/children")
            .get(relatives::children, relatives::children_operation()),
    );
    routes.add(
        Resource::at("/api/backgroundtask/{id}/dependencies")
            .or_at("/api/backgroundtasks/{id}/dependencies")
            .get(relatives::dependencies, relatives::dependencies_operation()),
    );
    routes.add(Resource::at("/api/tasks").get(list_tasks::handle, list_tasks::operation()));
    routes.add(Resource::at("/api/workers").get(workers::handle, workers::operation()));
    routes.add(Resource::at("/api/findings").get(findings::handle, findings::operation()));
    routes.add(Resource::at("/api/overview").get(overview::handle, overview::operation()));
    routes.add(Resource::at("/api/audit").get(audit::handle, audit::operation()));
    routes.add(Resource::at("/api/queues").get(queues::list, queues::list_operation()));
    routes.add(
        Resource::at("/api/queues/{name}")
            .get(queues::one, queues::one_operation())
            .patch(patch_queue::handle, patch_queue::operation()),
    );
    routes.add(Resource::at("/api/tasktypes").get(list_types::handle, list_types::operation()));
    routes.add(Resource::at("/api/tasktypes/{name}/pause").post(pause_type::pause, pause_type::pause_operation()));
    routes.add(Resource::at("/api/tasktypes/{name}/resume").post(pause_type::resume, pause_type::resume_operation()));
    schedule::add(routes);
    routes.add(Resource::at("/api/openapi.json").get(openapi::handle, openapi::operation()));
    routes.add(Resource::at("/api/docs").get(docs::redirect, docs::redirect_operation()));
    routes.add(Resource::at("/api/docs/{file}").get(docs::file, docs::file_operation()));
    book::add(routes);
    routes.add(Resource::at("/metrics").get(metrics::handle, metrics::operation()));
    routes.add(Resource::at("/health/live").get(health::live, health::live_operation()));
    routes.add(Resource::at("/health/ready").get(health::ready, health::ready_operation()));
}

pub(crate) async fn unknown_route(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let path: String = request.path().chars().take(200).collect();
    refused(&request, ApiError::new(UNKNOWN_ROUTE, format!("This API has no address {path}.")))
}

/// That nothing is there: for a browser as a page, if the API has pages.
fn refused(request: &HttpRequest, refusal: ApiError) -> Result<HttpResponse, ApiError> {
    let page = request.app_data::<web::Data<App>>().and_then(|app| app.inner.unknown_page());
    refused_as(request, refusal, page)
}
