//! `GET /health/live` and `GET /health/ready`, for load balancers.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use longhaul_model::store::migrate::{is_current, read_only};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Access, ApiError, App, Operation, json_response};

/// How a process is.
#[derive(Serialize, JsonSchema)]
struct Health {
    #[schemars(extend("enum" = ["live", "ready"]))]
    status: &'static str,
}

pub(super) fn live_operation() -> Operation {
    Operation::new("Health", "isLive", "The process runs.")
        .needs(Access::Public)
        .without_database()
        .answers::<Health>(200, "It does.")
}

pub(super) fn ready_operation() -> Operation {
    Operation::new(
        "Health",
        "isReady",
        "The process can serve: the database answers and is writable, and its schema is up to date.",
    )
    .needs(Access::Public)
    .answers::<Health>(200, "It can.")
}

/// The process runs. Asks nobody else, so that a database outage does not make
/// an orchestrator restart it.
pub(crate) async fn live() -> HttpResponse {
    json_response(StatusCode::OK, &Health { status: "live" })
}

const PATIENCE: Duration = Duration::from_secs(2);

/// The process can serve: the database answers and can be written, and its schema is up to
/// date.
pub(crate) async fn ready(app: web::Data<App>) -> Result<HttpResponse, ApiError> {
    let check = async {
        if let Some(why) = read_only(app.pool()).await? {
            return Err(ApiError::unavailable(format!("Nothing can be stored: {why}.")));
        }
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
        .map_err(|_| ApiError::unavailable("The database did not answer in time."))??;
    Ok(json_response(StatusCode::OK, &Health { status: "ready" }))
}
