//! Answers: pages, redirects, and refusals as pages.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue, LOCATION, SET_COOKIE};
use actix_web::{HttpRequest, HttpResponse};
use longhaul_api::ApiError;
use longhaul_api::session::{csrf_token, html_response};
use maud::{Markup, html};

use crate::notice::Notice;
use crate::problem::WRONG_FIELD;
use crate::shell::Shell;

/// A page.
pub(crate) fn page(markup: Markup) -> HttpResponse {
    html_response(StatusCode::OK, markup.into_string())
}

/// A page that says, once, what the form before it did.
pub(crate) fn page_after_form(request: &HttpRequest, shell: Shell<'_>, main: Markup) -> HttpResponse {
    let notice = Notice::of(request);
    let mut response = page(shell.with_notice(notice).page(main));
    if notice.is_some()
        && let Ok(cookie) = HeaderValue::from_str(&Notice::removal())
    {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// `303` to a page of ours.
pub(crate) fn go(address: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, address)).insert_header((CACHE_CONTROL, "no-store")).finish()
}

/// The same to a page that says what was done.
pub(crate) fn go_saying(address: &str, notice: Notice) -> HttpResponse {
    let mut response = go(address);
    if let Ok(cookie) = HeaderValue::from_str(&notice.cookie()) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// A refusal as a page. Who has a session can leave it there, too.
pub(crate) fn refusal(request: &HttpRequest, error: &ApiError) -> String {
    // Whose form was wrong goes back to where it stands.
    let (address, words) =
        if request.path().starts_with("/queues/") { ("/queues", "To the queues") } else { ("/", "To the overview") };
    let problem = error.problem();
    let (heading, hint) = match StatusCode::from_u16(problem.status).unwrap_or_default() {
        StatusCode::UNAUTHORIZED => ("Please sign in", "These pages require a login."),
        StatusCode::FORBIDDEN => {
            ("You may not see this", "Ask the operator of this service for the permission, or sign in as another user.")
        }
        StatusCode::NOT_FOUND if problem.code == "unknown-route" => {
            ("Page not found", "Check the address, or use the search above.")
        }
        StatusCode::NOT_FOUND => ("Page not found", "It may have existed: completed tasks are kept for some days."),
        StatusCode::SERVICE_UNAVAILABLE => {
            ("The database does not answer", "No task is lost. Reload this page in a moment.")
        }
        StatusCode::BAD_REQUEST if problem.code == WRONG_FIELD.code => (
            "A field is invalid",
            "Nothing was changed. Go back in your browser, where your input is still present, and correct it.",
        ),
        status if status.is_server_error() => ("Internal error", "The cause is in the server's log."),
        _ => ("The action failed", "Nothing was changed."),
    };
    let main = html! {
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
    };
    Shell::bare(heading, csrf_token(request).is_some()).page(main).into_string()
}
