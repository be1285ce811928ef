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
    /// Show this worker's metrics here, under /metrics, and its health beside them; whoever
    /// reaches the address may read them.
    #[arg(long, env = "LONGHAUL_METRICS_LISTEN", value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
}

impl MetricsArgs {
    /// Serves until `stop`, if an address was given. It is bound when this returns.
    pub(crate) fn serve(&self, metrics: Metrics, stop: CancellationToken) -> anyhow::Result<()> {
        let Some(address) = self.metrics_listen else { return Ok(()) };
        let listener = TcpListener::bind(address).with_context(|| format!("can't listen on {address}"))?;
        tracing::info!(address = %listener.local_addr()?, "metrics are served under /metrics");
        #[expect(clippy::disallowed_methods, reason = "a worker has no API, and these routes are no part of one")]
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(metrics.clone()))
                .route("/metrics", web::get().to(show))
                .route("/health/live", web::get().to(live))
                .route("/health/ready", web::get().to(ready))
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
                tracing::error!(%error, "metrics are no longer served");
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

/// Its loops go round, whatever the database does.
async fn live(metrics: web::Data<Metrics>) -> HttpResponse {
    let silent = metrics.vitals().silent();
    if silent.is_empty() {
        HttpResponse::Ok().json(serde_json::json!({"status": "live"}))
    } else {
        HttpResponse::ServiceUnavailable().json(serde_json::json!({"status": "stuck", "loops": silent}))
    }
}

/// It has registered with the database and claimed for the first time.
async fn ready(metrics: web::Data<Metrics>) -> HttpResponse {
    if metrics.vitals().is_ready() {
        HttpResponse::Ok().json(serde_json::json!({"status": "ready"}))
    } else {
        HttpResponse::ServiceUnavailable().json(serde_json::json!({"status": "starting"}))
    }
}
