//! `GET /api/openapi.json`: what this API can do, for programs.

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpResponse, web};
use schemars::JsonSchema;

use crate::{Access, App, Operation};

/// An OpenAPI 3.1 document.
#[derive(JsonSchema)]
#[schemars(rename = "OpenApiDocument", extend("additionalProperties" = true))]
#[expect(dead_code, reason = "it says the form; the document is kept as it is sent")]
struct OpenApiDocument {
    #[schemars(regex(pattern = r"^3\.1\."))]
    openapi: String,
}

pub(super) fn operation() -> Operation {
    Operation::new("Description", "getOpenApi", "Returns the OpenAPI 3.1 document.")
        .needs(Access::Public)
        .without_database()
        .answers::<OpenApiDocument>(200, "The document of the routes and task types of this process.")
}

/// `200` with the document.
pub(super) async fn handle(app: web::Data<App>) -> HttpResponse {
    let text = app.inner.openapi.text.clone();
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/json; charset=utf-8")).body(text)
}
