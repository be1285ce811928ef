//! `GET /metrics`: what this process measures, for Prometheus.

use actix_web::http::header::{ACCEPT, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::access::{Access, permission};
use crate::{App, Operation};

pub(super) fn operation() -> Operation {
    Operation::new("Health", "getMetrics", "Returns metrics of this process and of the database.")
        .description(
            "In OpenMetrics if `Accept` prefers it, as Prometheus does, else in Prometheus' own text format. \
             Metrics of the database are missing while it does not answer.",
        )
        .without_database()
        .needs(Access::Permission(permission::VIEW_METRICS))
        .answers_bytes(200, "text/plain", "The metrics.")
        .answers_bytes(200, "application/openmetrics-text", "")
}

/// `200` with the metrics.
pub(super) async fn handle(app: web::Data<App>, request: HttpRequest) -> HttpResponse {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let shown = app.inner.metrics.expose(accept).await;
    HttpResponse::Ok().insert_header((CONTENT_TYPE, shown.content_type)).body(shown.body)
}
