//! Records every request: its duration in the metrics, a line in the log.

use std::time::Instant;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use longhaul_model::TraceContext;
use longhaul_telemetry::{Metrics, Span};

use crate::openapi::template;

/// Measures a request, and logs it under the target `longhaul_api::access`: without
/// its query and headers, which may hold secrets.
pub(crate) async fn observe<B: MessageBody>(
    metrics: Metrics,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let began = Instant::now();
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let parent = header("traceparent").and_then(|parent| TraceContext::from_headers(parent, header("tracestate")));
    let route = request.match_pattern().map(|pattern| template(&pattern));
    let span = Span::request(request.method().as_str(), route.as_deref(), parent);
    let response = span.around(next.call(request)).await?;
    let took = began.elapsed();
    span.answered(response.status().as_u16());
    let request = response.request();
    let (method, status) = (request.method().as_str(), response.status().as_u16());
    metrics.api().answered(method, route.as_deref(), status, took);
    tracing::info!(
        target: "longhaul_api::access",
        method,
        path = request.path(),
        status,
        ms = took.as_micros() as f64 / 1000.0,
        "answered"
    );
    Ok(response)
}
