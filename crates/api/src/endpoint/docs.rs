//! `GET /api/docs`: what this API can do, for people: Swagger UI, which is part
//! of the program and loads nothing from elsewhere.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use actix_web::{HttpResponse, web};

use crate::error::UNKNOWN_ROUTE;
use crate::openapi::text;
use crate::{Access, ApiError, Operation, swagger_ui};

/// Swagger UI sets styles itself, and shows images that its styles carry.
const POLICY: &str =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";

pub(super) fn redirect_operation() -> Operation {
    Operation::new("Description", "getDocs", "Redirects to the API documentation page.")
        .needs(Access::Public)
        .without_database()
        .answers_nothing(308, "The page is at `/api/docs/index.html`.")
        .with_header("Location", "The page.")
}

/// `308` to the page, whose parts stand beside it.
pub(super) async fn redirect() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "docs/index.html")).finish()
}

pub(super) fn file_operation() -> Operation {
    Operation::new("Description", "getDocsFile", "The API documentation page and its files.")
        .needs(Access::Public)
        .without_database()
        .path("file", "`index.html` or what it refers to.", text())
        .answers_bytes(200, "text/html", "The file.")
        .answers_bytes(200, "text/css", "")
        .answers_bytes(200, "text/javascript", "")
        .answers_bytes(200, "image/png", "")
        .problem(UNKNOWN_ROUTE)
}

/// `200` with the file.
pub(super) async fn file(name: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let file = swagger_ui::file(&name).ok_or_else(|| {
        let name: String = name.chars().take(100).collect();
        ApiError::new(UNKNOWN_ROUTE, format!("There is no file /api/docs/{name}. The page is at /api/docs."))
    })?;
    let media_type = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    };
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, media_type))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(file))
}
