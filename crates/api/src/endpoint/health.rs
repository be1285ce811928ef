//! `GET /health/live` and `GET /health/ready`, for load balancers.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use longhaul_model::store::migrate::is_current;
use serde_json::json;

use crate::{ApiError, App, json_response};

/// The process runs. Asks nobody else, so that a database outage does not make
/// an orchestrator restart it.
pub(crate) async fn live() -> HttpResponse {
    json_response(StatusCode::OK, &json!({"status": "live"}))
}

const PATIENCE: Duration = Duration::from_secs(2);

/// The process can serve: the database answers and its schema is up to date.
pub(crate) async fn ready(app: web::Data<App>) -> Result<HttpResponse, ApiError> {
    let check = async {
        for migrator in &app.inner.migrators {
            if !is_current(app.pool(), migrator).await? {
                return Err(ApiError::unavailable(
                    "The database's schema is older than this program; run `longhaul migrate`.",
                ));
            }
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, check)
        .await
        .map_err(|_| ApiError::unavailable("The database does not answer in time."))??;
    Ok(json_response(StatusCode::OK, &json!({"status": "ready"})))
}
