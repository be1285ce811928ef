//! What every page has around it.

use longhaul_api::Caller;
use longhaul_api::access::CallerKind;
use longhaul_api::access::permission::{VIEW_QUEUES, VIEW_SCHEDULES};
use maud::{DOCTYPE, Markup, html};

use crate::asset::{ICON, SCRIPT, STYLE};
use crate::notice::Notice;

/// What every page has around it.
pub(crate) struct Shell<'a> {
    title: String,
    active: &'static str,
    caller: Option<&'a Caller>,
    notice: Option<Notice>,
    /// Whether the script keeps the page up to date.
    live: bool,
    search: String,
    /// There is a session that one can leave.
    session: bool,
}

/// Address, name, and what it takes to see it besides the permission for all pages.
pub(crate) const PLACES: [(&str, &str, Option<&str>); 5] = [
    ("/", "Overview", None),
    ("/tasks", "Tasks", None),
    ("/queues", "Queues", Some(VIEW_QUEUES)),
    ("/schedules", "Schedules", Some(VIEW_SCHEDULES)),
    ("/workers", "Workers", Some(VIEW_QUEUES)),
];

impl<'a> Shell<'a> {
    /// Of a page of the place at this address.
    pub(crate) fn new(title: impl Into<String>, active: &'static str, caller: &'a Caller) -> Self {
        let session = caller.kind() == CallerKind::Session;
        let (title, search) = (title.into(), String::new());
        Self { title, active, caller: Some(caller), notice: None, live: true, search, session }
    }

    /// Of a page for whoever it is.
    pub(crate) fn bare(title: &str, session: bool) -> Self {
        let (title, search) = (title.to_owned(), String::new());
        Self { title, active: "", caller: None, notice: None, live: false, search, session }
    }

    /// With the news that a form left behind.
    pub(crate) fn with_notice(mut self, notice: Option<Notice>) -> Self {
        self.notice = notice;
        self
    }

    /// With this in the field to search.
    pub(crate) fn with_search(mut self, text: &str) -> Self {
        self.search = text.to_owned();
        self
    }

    /// The page changes only when it is loaded.
    pub(crate) fn still(mut self) -> Self {
        self.live = false;
        self
    }

    /// Of who is not known, whatever there is.
    fn may(&self, needs: Option<&str>) -> bool {
        needs.is_none_or(|permission| self.caller.is_none_or(|caller| caller.may(permission)))
    }

    /// The whole page.
    pub(crate) fn page(self, main: Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    title { (self.title) " · Longhaul" }
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    link rel="icon" type="image/svg+xml" href=(ICON.address());
                    link rel="stylesheet" href=(STYLE.address());
                    script src=(SCRIPT.address()) {}
                }
                body data-live-page[self.live] {
                    a.skip href="#main" { "Skip to the content" }
                    header.top {
                        a.brand href="/" { (mark()) span { "Longhaul" } }
                        nav aria-label="Places" {
                            @for (address, name, _) in PLACES.into_iter().filter(|(.., needs)| self.may(*needs)) {
                                a href=(address) aria-current=[(address == self.active).then_some("page")] { (name) }
                            }
                        }
                        form.find role="search" action="/search" {
                            label.unseen for="q" { "Find tasks, queues, schedules, workers" }
                            input #q type="search" name="q" value=(self.search) placeholder="Id, name or text" maxlength="200" autocomplete="off";
                        }
                        div.tools {
                            @if self.live {
                                button.tool #live type="button" hidden aria-pressed="true" title="Live: press to \
                                    pause updates" {
                                    span.pulse aria-hidden="true" {} span.word { "Live" }
                                }
                            }
                            button.tool #theme type="button" hidden { "Theme" }
                            @if let Some(caller) = self.caller.filter(|caller| caller.kind() != CallerKind::Anonymous) {
                                span.who title=(caller.subject()) { (caller.name()) }
                            }
                            @if self.session {
                                form.leave method="post" action="/logout" { button.tool type="submit" { "Log out" } }
                            }
                        }
                    }
                    main #main tabindex="-1" {
                        @if let Some(notice) = self.notice { p.notice.warn[!notice.is_good()] role="status" { (notice.words()) } }
                        p.stale #stale role="status" hidden { "The server does not answer. This page may be out of date." }
                        (main)
                    }
                    footer.foot {
                        a href="/docs/dashboard" { "Documentation" }
                        a href="/api/docs" { "API" }
                        span.soft { "Longhaul " (env!("CARGO_PKG_VERSION")) }
                    }
                }
            }
        }
    }
}

/// The mark: a road to the horizon.
fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" {
            rect width="24" height="24" rx="6" class="mark-ground" {}
            path class="mark-road" d="M10.6 5h2.8l4.6 14h-4.3l-.5-3.2h-2.4L10.3 19H6z" {}
            path class="mark-line" d="M11.5 7h1l.3 2.4h-1.6zM11 11.2h2l.3 2.2h-2.6z" {}
        }
    }
}
