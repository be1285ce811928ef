//! `POST /api/schedules`: makes a schedule.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::cron;

use super::body;
use crate::error::SCHEDULE_EXISTS;
use crate::negotiation::{json_with, read_json};
use crate::{ApiError, App, schedule};

/// `201` with the body and `Location`; `409` if the name is taken.
pub(super) async fn handle(
    app: web::Data<App>,
    request: HttpRequest,
    body_bytes: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let wanted = schedule::read(&app, read_json(&app, &request, body_bytes)?, None, app.now())?;
    if !cron::create(app.pool(), &wanted).await? {
        return Err(ApiError::new(
            SCHEDULE_EXISTS,
            format!("There is a schedule {} already; use PUT on its address to replace it.", wanted.name),
        ));
    }
    let body = body(&app, &wanted.name).await?;
    let mut response = HttpResponse::build(StatusCode::CREATED);
    response.insert_header((LOCATION, body.self_url.as_str()));
    Ok(json_with(&mut response, &body))
}
