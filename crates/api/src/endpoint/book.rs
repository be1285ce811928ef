//! `/docs`: the documentation of this very version, for whoever followed a link of an
//! error or of `--help`. It loads nothing from elsewhere.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_book::{FIRST, Found, PAGES, Page, find, neighbours};
use maud::{Markup, PreEscaped, html};
use serde::Deserialize;

use super::refused;
use crate::error::UNKNOWN_ROUTE;
use crate::html::{document, html_response};
use crate::openapi::text;
use crate::page::refusal;
use crate::{Access, ApiError, App, Operation, Resource, Routes};

const STYLE: &str = include_str!("book.css");

/// A search shows so many sections at most.
const FOUND: usize = 50;
/// A search takes so many bytes.
const QUERY_BYTES: usize = 200;

/// What the first page's address may carry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Words to search for.
    q: Option<String>,
}

pub(super) fn add(routes: &mut Routes) {
    routes.add(Resource::at("/docs").get(
        first,
        operation("getBook", "The documentation: its first page, or the sections with the words of `q`.").query(
            "q",
            "Words that a section must contain, all of them, or words that begin with them. At most 200 bytes.",
            text(),
        ),
    ));
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
    let asked = match web::Query::<Asked>::from_query(request.query_string()) {
        Ok(asked) => asked.into_inner(),
        Err(error) => return refused(&request, refusal("?", format!("The query parameter is q: {error}."))),
    };
    let Some(words) = asked.q else { return shown(&request, FIRST) };
    if words.len() > QUERY_BYTES {
        return refused(&request, refusal("q", format!("At most {QUERY_BYTES} bytes are expected.")));
    }
    Ok(html_response(StatusCode::OK, results(&words, has_dashboard(&request))))
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
    Ok(html_response(StatusCode::OK, whole(page, has_dashboard(request))))
}

/// Whether this API serves pages at `/`, to which the book leads back.
fn has_dashboard(request: &HttpRequest) -> bool {
    request.app_data::<web::Data<App>>().is_some_and(|app| app.openapi()["paths"]["/"].is_object())
}

fn whole(page: &'static Page, dashboard: bool) -> String {
    let (before, after) = neighbours(page);
    let main = html! {
        (PreEscaped(page.html()))
        nav.turn aria-label="Previous and next page" {
            @if let Some(before) = before { a rel="prev" href={ "/docs/" (before.name) } { "Previous: " (before.title) } }
            @if let Some(after) = after { a rel="next" href={ "/docs/" (after.name) } { "Next: " (after.title) } }
        }
    };
    framed(page.title, Some(page), "", dashboard, &main)
}

/// The sections with these words.
fn results(words: &str, dashboard: bool) -> String {
    let found = find(words, FOUND);
    let main = html! {
        h1 { "Search" }
        @if words.trim().is_empty() {
            p { "Enter words that a section must contain." }
        } @else if found.is_empty() {
            p { "No section contains all of “" (words.trim()) "”. Try fewer words, or their beginnings." }
        } @else {
            p role="status" {
                @if found.len() == FOUND { "The best " }
                (found.len()) @if found.len() == 1 { " section" } @else { " sections" } " with “" (words.trim()) "”"
            }
            ol.found { @for one in &found { (item(one)) } }
        }
    };
    framed("Search", None, words, dashboard, &main)
}

fn item(found: &Found) -> Markup {
    let (before, word, after) = found.excerpt;
    let part = if found.anchor.is_empty() { String::new() } else { format!("#{}", found.anchor) };
    html! {
        li {
            a href={ "/docs/" (found.page.name) (part) } {
                (found.page.title) @if !found.heading.is_empty() { " › " (found.heading) }
            }
            p { (before) @if !word.is_empty() { mark { (word) } } (after) }
        }
    }
}

/// What every page has around it: a way back, a field to search, and the contents.
fn framed(title: &str, page: Option<&'static Page>, words: &str, dashboard: bool, main: &Markup) -> String {
    let parts = PAGES.chunk_by(|one, other| one.part == other.part);
    let body = html! {
        a.skip href="#page" { "Skip to the page" }
        header.top {
            a.brand href="/docs" { "Longhaul documentation" }
            a.to-contents href="#contents" { "Contents" }
            @if dashboard { a.back href="/" { "Dashboard" } }
            form role="search" action="/docs" {
                label.unseen for="q" { "Search the documentation" }
                input #q type="search" name="q" value=(words) placeholder="Search" maxlength="200" autocomplete="off";
                button type="submit" { "Search" }
            }
        }
        div.book {
            nav #contents aria-label="Contents" {
                @for part in parts {
                    @if !part[0].part.is_empty() { h2 { (part[0].part) } }
                    ul {
                        @for other in part {
                            @let is_here = page.is_some_and(|page| page.name == other.name);
                            li class=[(other.depth > 0).then_some("sub")] {
                                a href={ "/docs/" (other.name) } aria-current=[is_here.then_some("page")] { (other.title) }
                                @if is_here {
                                    ul.here {
                                        @for (heading, anchor) in other.headings() {
                                            li { a href={ "#" (anchor) } { (heading) } }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            main #page tabindex="-1" { (main) }
        }
    };
    document(title, "/docs/style.css", &body)
}

/// `200` with the style sheet.
async fn style() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/css; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "max-age=3600"))
        .body(STYLE)
}
