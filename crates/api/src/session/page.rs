//! The login page.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;

use crate::html::{escaped, html_response};
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
        let leads_to = escaped(&query(&[("return", self.leads_to)]));
        let complaint = self
            .complaint
            .map(|text| format!("<p class=\"complaint\" role=\"alert\" id=\"complaint\">{}</p>", escaped(text)))
            .unwrap_or_default();
        let by_key = if self.by_key {
            let wrong = if self.complaint.is_some() { " aria-describedby=\"complaint\"" } else { "" };
            format!(
                "<form method=\"post\" action=\"/login?{leads_to}\">\
                 <label for=\"key\">API key</label>\
                 <input id=\"key\" name=\"key\" type=\"password\" required autocomplete=\"current-password\" \
                 spellcheck=\"false\" maxlength=\"500\"{wrong}>\
                 <button type=\"submit\">Log in</button></form>"
            )
        } else {
            String::new()
        };
        let provider = self.provider.map_or_else(String::new, |name| {
            let host = reqwest::Url::parse(name).ok().and_then(|url| url.host_str().map(str::to_owned));
            let host = escaped(host.as_deref().unwrap_or(name));
            format!("<p><a class=\"provider\" href=\"/login/oidc?{leads_to}\">Log in at {host}</a></p>")
        });
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Log in – Longhaul</title>\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <link rel=\"stylesheet\" href=\"/login/style.css\"></head>\
             <body><main><h1>Log in</h1>{complaint}{by_key}{provider}</main></body></html>"
        )
    }
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
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)"));
        assert!(html.contains("action=\"/login?return=%2F%22%3E%3Cscript%3E"));
    }
}
