//! One file an endpoint.

mod delete_task;
mod get_task;
mod health;
mod patch_queue;
mod pause_type;
mod post_batch;
mod post_task;
mod queues;
mod retry_task;
mod schedule;
mod task_events;
mod task_log;

pub(crate) use task_log::LineBody;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use crate::ApiError;
use crate::app::AppSettings;
use crate::error::UNKNOWN_ROUTE;

pub(crate) fn configure(config: &mut ServiceConfig, settings: &AppSettings) {
    // Before the addresses of single tasks, which would take `batch` for an id.
    for path in ["/api/backgroundtasks/batch", "/api/backgroundtask/batch"] {
        config.service(
            web::resource(path)
                .app_data(web::PayloadConfig::new(settings.batch_body_limit))
                .route(web::post().to(post_batch::handle))
                .default_service(web::to(|| refuse("POST"))),
        );
    }
    // The contract names the resource in both numbers.
    for path in ["/api/backgroundtasks", "/api/backgroundtask"] {
        config.service(
            web::resource(path).route(web::post().to(post_task::handle)).default_service(web::to(|| refuse("POST"))),
        );
    }
    for path in ["/api/backgroundtask/{id}", "/api/backgroundtasks/{id}"] {
        config.service(
            web::resource(path)
                .route(web::get().to(get_task::handle))
                .route(web::head().to(get_task::handle))
                .route(web::delete().to(delete_task::handle))
                .default_service(web::to(|| refuse("GET, HEAD, DELETE"))),
        );
    }
    for path in ["/api/backgroundtask/{id}/events", "/api/backgroundtasks/{id}/events"] {
        config.service(
            web::resource(path).route(web::get().to(task_events::handle)).default_service(web::to(|| refuse("GET"))),
        );
    }
    for path in ["/api/backgroundtask/{id}/log", "/api/backgroundtasks/{id}/log"] {
        config.service(
            web::resource(path).route(web::get().to(task_log::handle)).default_service(web::to(|| refuse("GET"))),
        );
    }
    for path in ["/api/backgroundtask/{id}/retry", "/api/backgroundtasks/{id}/retry"] {
        config.service(
            web::resource(path).route(web::post().to(retry_task::handle)).default_service(web::to(|| refuse("POST"))),
        );
    }
    config.service(
        web::resource("/api/queues").route(web::get().to(queues::list)).default_service(web::to(|| refuse("GET"))),
    );
    config.service(
        web::resource("/api/queues/{name}")
            .route(web::get().to(queues::one))
            .route(web::patch().to(patch_queue::handle))
            .default_service(web::to(|| refuse("GET, PATCH"))),
    );
    for (path, paused) in [("/api/tasktypes/{name}/pause", true), ("/api/tasktypes/{name}/resume", false)] {
        config.service(
            web::resource(path)
                .route(web::post().to(move |app, name| pause_type::handle(app, name, paused)))
                .default_service(web::to(|| refuse("POST"))),
        );
    }
    schedule::configure(config);
    config.service(
        web::resource("/health/live").route(web::get().to(health::live)).default_service(web::to(|| refuse("GET"))),
    );
    config.service(
        web::resource("/health/ready").route(web::get().to(health::ready)).default_service(web::to(|| refuse("GET"))),
    );
}

async fn refuse(allow: &'static str) -> Result<HttpResponse, ApiError> {
    Err(ApiError::method_not_allowed(allow))
}

pub(crate) async fn unknown_route(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let path: String = request.path().chars().take(200).collect();
    Err(ApiError::new(UNKNOWN_ROUTE, format!("{path} is not an address of this API.")))
}
