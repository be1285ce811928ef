//! `POST /api/tasktypes/{name}/pause` and `…/resume`: holds a type's tasks,
//! whatever their queue, and lets them go.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use longhaul_model::store::queue::pause_type;
use serde_json::json;

use crate::error::UNKNOWN_TYPE;
use crate::{ApiError, App, json_response};

/// `200`; tasks that run go on.
pub(crate) async fn handle(
    app: web::Data<App>,
    name: web::Path<String>,
    paused: bool,
) -> Result<HttpResponse, ApiError> {
    let entry = app.inner.registry.get(&name).map_err(|unknown| ApiError::new(UNKNOWN_TYPE, format!("{unknown}.")))?;
    pause_type(app.pool(), entry.info().name, paused).await?;
    Ok(json_response(StatusCode::OK, &json!({"Name": entry.info().name, "Paused": paused})))
}
