//! Pages, and the headers that every page has.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use maud::{DOCTYPE, Markup, html};

/// What a page of ours may load and do: nothing from elsewhere, no script or style
/// inside it, not inside a frame.
pub const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                               img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// A document of this title with one style sheet.
pub(crate) fn document(title: &str, style: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (title) " – Longhaul" }
                meta name="viewport" content="width=device-width, initial-scale=1";
                link rel="stylesheet" href=(style);
            }
            body { (body) }
        }
    };
    page.into_string()
}

/// A page with the headers that every page has: [`PAGE_POLICY`], and none that guesses
/// types, frames it, tells its address to other sites or keeps it.
#[must_use]
pub fn html_response(status: StatusCode, body: String) -> HttpResponse {
    as_page(HttpResponse::new(status), body)
}

/// An answer as a page: this HTML instead of its body, with the headers of pages besides
/// its own.
pub(crate) fn as_page(response: HttpResponse, html: String) -> HttpResponse {
    let mut page = response.map_body(|_, _| BoxBody::new(html));
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "same-origin"),
        // What a page shows is for whoever asked.
        (CACHE_CONTROL, "no-store"),
    ] {
        page.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    page
}
