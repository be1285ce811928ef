//! The login page.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use maud::html;

use crate::html::{document, html_response};
use crate::query_string::query;

/// What the login page shows.
pub(super) struct LoginPage<'a> {
    pub(super) by_key: bool,
    pub(super) provider: Option<&'a str>,
    /// Where to go afterwards.
    pub(super) leads_to: &'a str,
    /// What went wrong.
    pub(super) complaint: Option<&'a str>,
}

pub(super) const STYLE: &str = include_str!("login.css");

impl LoginPage<'_> {
    pub(super) fn response(&self, status: StatusCode) -> HttpResponse {
        html_response(status, self.html())
    }

    fn html(&self) -> String {
        let leads_to = query(&[("return", self.leads_to)]);
        let body = html! {
            main {
                h1 { "Log in" }
                @if let Some(complaint) = self.complaint {
                    p.complaint role="alert" #complaint { (complaint) }
                }
                @if self.by_key {
                    form method="post" action={ "/login?" (leads_to) } {
                        label for="key" { "API key" }
                        input #key name="key" type="password" required autocomplete="current-password"
                            spellcheck="false" maxlength="500"
                            aria-describedby=[self.complaint.map(|_| "complaint")];
                        button type="submit" { "Log in" }
                    }
                }
                @if let Some(provider) = self.provider {
                    p { a.provider href={ "/login/oidc?" (leads_to) } { "Log in at " (host(provider)) } }
                }
            }
        };
        document("Log in", "/login/style.css", &body)
    }
}

/// The host of an address, or all of it.
fn host(address: &str) -> String {
    let host = reqwest::Url::parse(address).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.unwrap_or_else(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::LoginPage;

    #[test]
    fn nothing_that_is_shown_becomes_markup() {
        let bad = "/\"><script>alert('x')</script>&";
        let page = LoginPage { by_key: true, provider: Some(bad), leads_to: bad, complaint: Some(bad) };
        let html = page.html();
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("&lt;script&gt;alert("));
        assert!(html.contains("action=\"/login?return=%2F%22%3E%3Cscript%3E"));
    }
}
