//! `/metrics` of a worker, which has no API.

use std::net::{SocketAddr, TcpListener};

use actix_web::http::header::{ACCEPT, CONTENT_TYPE};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::Context;
use clap::Args;
use longhaul_telemetry::Metrics;
use tokio_util::sync::CancellationToken;

/// Where a worker shows its metrics.
#[derive(Debug, Clone, Args)]
pub(crate) struct MetricsArgs {
    /// Show this worker's metrics here, under /metrics, and /health/live beside them;
    /// whoever reaches the address may read them.
    #[arg(long, env = "LONGHAUL_METRICS_LISTEN", value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
}

impl MetricsArgs {
    /// Serves until `stop`, if an address was given. It is bound when this returns.
    pub(crate) fn serve(&self, metrics: Metrics, stop: CancellationToken) -> anyhow::Result<()> {
        let Some(address) = self.metrics_listen else { return Ok(()) };
        let listener = TcpListener::bind(address).with_context(|| format!("can't listen on {address}"))?;
        tracing::info!(address = %listener.local_addr()?, "metrics are shown under /metrics");
        #[expect(clippy::disallowed_methods, reason = "a worker has no API, and these two routes are no part of one")]
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(metrics.clone()))
                .route("/metrics", web::get().to(show))
                .route("/health/live", web::get().to(live))
        })
        .workers(1)
        .disable_signals()
        .listen(listener)?
        .run();
        let handle = server.handle();
        tokio::spawn(async move {
            stop.cancelled().await;
            handle.stop(false).await;
        });
        tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "metrics are no longer shown");
            }
        });
        Ok(())
    }
}

async fn show(metrics: web::Data<Metrics>, request: HttpRequest) -> HttpResponse {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let shown = metrics.expose(accept).await;
    HttpResponse::Ok().insert_header((CONTENT_TYPE, shown.content_type)).body(shown.body)
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({"status": "live"}))
}
