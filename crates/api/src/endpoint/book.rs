//! `/docs`: the documentation of this very version, for whoever followed a link of an
//! error or of `--help`. It loads nothing from elsewhere.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_book::{FIRST, PAGES, Page};
use maud::{PreEscaped, html};

use super::refused;
use crate::error::UNKNOWN_ROUTE;
use crate::html::{document, html_response};
use crate::openapi::text;
use crate::{Access, ApiError, Operation, Resource, Routes};

const STYLE: &str = include_str!("book.css");

pub(super) fn add(routes: &mut Routes) {
    routes.add(Resource::at("/docs").get(first, operation("getBook", "The documentation, its first page.")));
    routes.add(
        Resource::at("/docs/style.css").get(
            style,
            Operation::new("Description", "getBookStyle", "The documentation's style sheet.")
                .needs(Access::Public)
                .without_database()
                .answers_bytes(200, "text/css", "The style sheet."),
        ),
    );
    let one = |id, what| operation(id, what).path("page", "Its name.", text()).problem(UNKNOWN_ROUTE);
    routes.add(Resource::at("/docs/{page}").get(named, one("getBookPage", "A page of the documentation.")));
    routes.add(Resource::at("/docs/adr/{page}").get(decision, one("getBookDecision", "A decision and its reasons.")));
}

fn operation(id: &'static str, summary: &'static str) -> Operation {
    Operation::new("Description", id, summary).needs(Access::Public).without_database().answers_bytes(
        200,
        "text/html",
        "The page.",
    )
}

async fn first(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    shown(&request, FIRST)
}

async fn named(request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, ApiError> {
    shown(&request, &name)
}

async fn decision(request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, ApiError> {
    shown(&request, &format!("adr/{name}"))
}

fn shown(request: &HttpRequest, name: &str) -> Result<HttpResponse, ApiError> {
    let name = name.strip_suffix(".md").or_else(|| name.strip_suffix(".html")).unwrap_or(name);
    let Some(page) = longhaul_book::page(name) else {
        let name: String = name.chars().take(100).collect();
        let detail = format!("The documentation has no page {name}. See /docs for its first page.");
        return refused(request, ApiError::new(UNKNOWN_ROUTE, detail));
    };
    Ok(html_response(StatusCode::OK, whole(page)))
}

fn whole(page: &Page) -> String {
    let parts = PAGES.chunk_by(|one, other| one.part == other.part);
    let body = html! {
        a.skip href="#page" { "Skip to the page" }
        nav aria-label="Documentation" {
            details {
                summary { "Contents" }
                @for part in parts {
                    @if !part[0].part.is_empty() { h2 { (part[0].part) } }
                    ul {
                        @for other in part {
                            @let here = (other.name == page.name).then_some("page");
                            li { a href={ "/docs/" (other.name) } aria-current=[here] { (other.title) } }
                        }
                    }
                }
            }
        }
        main #page tabindex="-1" { (PreEscaped(page.html())) }
    };
    document(page.title, "/docs/style.css", &body)
}

/// `200` with the style sheet.
async fn style() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/css; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "max-age=3600"))
        .body(STYLE)
}
