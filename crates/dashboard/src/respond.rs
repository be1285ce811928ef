//! Answers: pages, redirects, and refusals as pages.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use longhaul_api::ApiError;
use longhaul_model::ProblemKind;
use maud::{Markup, html};

use crate::origin::FOREIGN_FORM;
use crate::shell::Shell;

/// There is no such page.
pub(crate) const NO_PAGE: ProblemKind =
    ProblemKind { code: "no-page", title: "There is nothing at this address", status: 404 };
/// What a form asked for can't be done.
pub(crate) const NOT_DONE: ProblemKind = ProblemKind { code: "not-done", title: "That can't be done", status: 409 };
/// A field of a form or a filter is wrong.
pub(crate) const WRONG_FIELD: ProblemKind =
    ProblemKind { code: "wrong-field", title: "A field is filled in wrongly", status: 400 };

/// Codes of refusals by pages. `docs/errors.md` has the same table; a test compares them.
pub const KINDS: &[ProblemKind] = &[NO_PAGE, NOT_DONE, WRONG_FIELD, FOREIGN_FORM];

/// Pages load what is ours and nothing else; nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// A page.
pub(crate) fn page(markup: Markup) -> HttpResponse {
    let mut response = HttpResponse::Ok().body(markup.into_string());
    guard(response.headers_mut());
    response
}

fn guard(headers: &mut HeaderMap) {
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "same-origin"),
        // What a page shows is for whoever asked.
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// `303` to a page of ours.
pub(crate) fn go(address: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, address)).insert_header((CACHE_CONTROL, "no-store")).finish()
}

/// A refusal as a page.
pub(crate) fn refusal(_request: &HttpRequest, error: &ApiError) -> HttpResponse {
    // Headers such as WWW-Authenticate, and the line in the log, are the API's.
    let mut response =
        error.error_response().map_body(|_, _| BoxBody::new(refusal_page(error, OVERVIEW).into_string()));
    guard(response.headers_mut());
    response
}

/// Where a refusal leads: an address, and what is there.
type Back = (&'static str, &'static str);
const OVERVIEW: Back = ("/", "To the overview");

fn refusal_page(error: &ApiError, (address, words): Back) -> Markup {
    let problem = error.problem();
    let (heading, hint) = match StatusCode::from_u16(problem.status).unwrap_or_default() {
        StatusCode::UNAUTHORIZED => ("Who are you?", "These pages are for people who have signed in."),
        StatusCode::FORBIDDEN => (
            "You may not see this",
            "Ask whoever looks after this service for the permission, or sign in as someone else.",
        ),
        StatusCode::NOT_FOUND => {
            ("There is nothing here", "It may have been there: ended tasks are kept for some days.")
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            ("The database does not answer", "Tasks are safe. Reload this page in a moment; workers wait, too.")
        }
        StatusCode::BAD_REQUEST if problem.code == WRONG_FIELD.code => (
            "Something is filled in wrongly",
            "Nothing was changed. Go back in your browser, where what you entered still stands, and mend it.",
        ),
        status if status.is_server_error() => ("Something went wrong on our side", "The cause is in the server's log."),
        _ => ("That did not work", "Nothing was changed."),
    };
    Shell::bare(heading).page(html! {
        section.refusal {
            p.code { (problem.status) }
            h1 { (heading) }
            p { (problem.detail) }
            p.soft { (hint) }
            @if let Some(help) = longhaul_book::error_path(&problem.code) {
                p.soft { "More about " a href=(help) { code { (problem.code) } } " in the documentation." }
            }
            p { a.button href=(address) { (words) } }
        }
    })
}

/// A refusal that is shown as a page.
#[derive(Debug)]
pub(crate) struct PageError {
    error: ApiError,
    back: Back,
}

impl PageError {
    /// The same, from which people go back there.
    pub(crate) fn leading_to(mut self, address: &'static str, words: &'static str) -> Self {
        self.back = (address, words);
        self
    }
}

impl<E: Into<ApiError>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self { error: error.into(), back: OVERVIEW }
    }
}

impl std::fmt::Display for PageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl ResponseError for PageError {
    fn status_code(&self) -> StatusCode {
        self.error.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let page = refusal_page(&self.error, self.back).into_string();
        let mut response = self.error.error_response().map_body(|_, _| BoxBody::new(page));
        guard(response.headers_mut());
        response
    }
}
