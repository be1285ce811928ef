//! Answers: pages, redirects, and refusals as pages.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, LOCATION};
use actix_web::{HttpRequest, HttpResponse};
use longhaul_api::ApiError;
use longhaul_api::session::{csrf_token, html_response};
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

/// A page.
pub(crate) fn page(markup: Markup) -> HttpResponse {
    html_response(StatusCode::OK, markup.into_string())
}

/// `303` to a page of ours.
pub(crate) fn go(address: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, address)).insert_header((CACHE_CONTROL, "no-store")).finish()
}

/// A refusal as a page. Who has a session can leave it there, too.
pub(crate) fn refusal(request: &HttpRequest, error: &ApiError) -> String {
    // Whose form was wrong goes back to where it stands.
    let (address, words) =
        if request.path().starts_with("/queues/") { ("/queues", "To the queues") } else { ("/", "To the overview") };
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
