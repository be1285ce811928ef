//! `/docs`: the documentation of this very version, for whoever followed a link of an
//! error or of `--help`. It loads nothing from elsewhere.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_book::{FIRST, PAGES, Page};

use super::refused;
use crate::error::UNKNOWN_ROUTE;
use crate::html::{escaped, html_response};
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
    let mut contents = String::new();
    let mut part = "";
    for other in PAGES {
        if other.part != part {
            contents.push_str(&format!("</ul><h2>{}</h2><ul>", escaped(other.part)));
            part = other.part;
        }
        let here = if other.name == page.name { " aria-current=\"page\"" } else { "" };
        let title = escaped(other.title);
        contents.push_str(&format!("<li><a href=\"/docs/{}\"{here}>{title}</a></li>", other.name));
    }
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{} – Longhaul</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"stylesheet\" href=\"/docs/style.css\"></head><body>\
         <a class=\"skip\" href=\"#page\">Skip to the page</a>\
         <nav aria-label=\"Documentation\"><details><summary>Contents</summary><ul>{contents}</ul></details></nav>\
         <main id=\"page\" tabindex=\"-1\">{}</main></body></html>",
        escaped(page.title),
        page.html()
    )
}

/// `200` with the style sheet.
async fn style() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/css; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "max-age=3600"))
        .body(STYLE)
}
