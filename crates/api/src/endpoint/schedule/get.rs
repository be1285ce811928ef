//! `GET /api/schedules/{name}`: a schedule, when it fires next and what it did last.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::body;
use crate::negotiation::must_accept_json;
use crate::{ApiError, App, json_response};

/// `200` with the body, `404` if there is no schedule of that name.
pub(super) async fn handle(
    app: web::Data<App>,
    name: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    Ok(json_response(StatusCode::OK, &body(&app, &name).await?))
}
