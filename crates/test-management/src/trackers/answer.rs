//! What a tracker says when its answer is not the one that was asked for.

use longhaul_model::{FileKind, REDACTED};
use quick_xml::escape::unescape;
use reqwest::Url;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use serde_json::Value;

use super::auth::Auth;

/// Longer texts are cut: a detail is a sentence or two.
const LONGEST: usize = 300;

/// An answer that is no use, with as much of its body as was read.
pub(super) struct Answer<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    /// Whose secret is not repeated, should the tracker repeat it.
    pub(super) auth: &'a Auth,
}

impl Answer<'_> {
    /// A sentence with what it says, and a space before it; nothing if it says nothing.
    pub(super) fn says(&self) -> String {
        if self.wants_captcha() {
            return " It requires a captcha: log in to its web page once with that account.".to_owned();
        }
        if let Some(page) = self.page() {
            return format!(" The response is {page}.");
        }
        let said = match serde_json::from_slice(self.body) {
            Ok(body) => texts(&body).join("; "),
            Err(_) if self.is_text() => {
                String::from_utf8_lossy(self.body).lines().next().unwrap_or_default().to_owned()
            }
            Err(_) => String::new(),
        };
        let said = self.shown(&said);
        if said.is_empty() {
            String::new()
        } else {
            format!(" It says: {said}{}", if said.ends_with('.') { "" } else { "." })
        }
    }

    /// What it is, where JSON was expected: continues "answered".
    pub(super) fn instead_of_json(&self) -> String {
        if let Some(page) = self.page() {
            return format!("{page} instead of JSON");
        }
        let encoding = self.header(CONTENT_ENCODING.as_str()).filter(|encoding| *encoding != "identity");
        if let Some(encoding) = encoding {
            return format!("in the Content-Encoding '{}', which was not requested", self.shown(encoding));
        }
        match FileKind::of(self.body) {
            FileKind::Json | FileKind::JsonArray => "JSON that is cut off or wrong".to_owned(),
            kind => format!("{kind} instead of JSON"),
        }
    }

    /// Whether it asks people to log in.
    pub(super) fn is_login_page(&self) -> bool {
        self.is_page() && find(self.body, b"type=\"password\"").or(find(self.body, b"type='password'")).is_some()
    }

    /// Whether it is a web page: no tracker's REST API answers one.
    pub(super) fn is_page(&self) -> bool {
        let typed = self.header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
        typed || FileKind::of(self.body) == FileKind::Html
    }

    fn page(&self) -> Option<String> {
        if !self.is_page() {
            return None;
        }
        let what = if self.is_login_page() { "a login page" } else { "a web page" };
        let begin = find(self.body, b"<title").and_then(|at| Some(at + find(&self.body[at..], b">")? + 1));
        let title = begin.and_then(|begin| {
            let end = begin + find(&self.body[begin..], b"</title")?;
            let title = String::from_utf8_lossy(&self.body[begin..end]);
            Some(self.shown(&unescape(&title).unwrap_or_else(|_| title.as_ref().into())))
        });
        Some(title.filter(|title| !title.is_empty()).map_or(what.to_owned(), |title| format!("{what} ('{title}')")))
    }

    /// Jira's, after too many logins that failed.
    fn wants_captcha(&self) -> bool {
        self.header("x-authentication-denied-reason").is_some_and(|reason| reason.contains("CAPTCHA"))
            || self.header("x-seraph-loginreason").is_some_and(|reason| reason.contains("AUTHENTICATION_DENIED"))
    }

    fn is_text(&self) -> bool {
        self.header(CONTENT_TYPE.as_str()).is_some_and(|kind| kind.starts_with("text/plain"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A text of the tracker's in one line, bounded, without our secret.
    fn shown(&self, text: &str) -> String {
        let text = match self.auth.secret() {
            Some(secret) => text.replace(secret, REDACTED),
            None => text.to_owned(),
        };
        let text: Vec<&str> =
            text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
        let text = text.join(" ");
        match text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{} …", &text[..end]),
            None => text,
        }
    }
}

/// Where a redirect of a tracker leads: continues "and points to". The address within is not
/// told, it may have a token.
pub(super) fn redirect_target(from: &Url, location: Option<&str>) -> String {
    let Some(to) = location.and_then(|location| from.join(location).ok()) else { return "nowhere".to_owned() };
    if to.origin() == from.origin() {
        return "itself, repeatedly".to_owned();
    }
    let host = to.origin().ascii_serialization();
    let lower = to.as_str().to_ascii_lowercase();
    // Names that identity providers and their protocols have in their addresses.
    let marks = ["sso", "saml", "oauth", "openid", "login", "signin", "adfs", "/auth", "okta", "idp"];
    if marks.iter().any(|mark| lower.contains(mark)) {
        return format!(
            "{host}, a login page (single sign-on): the credentials were not accepted, or a gateway in front of the \
             tracker requires an interactive login"
        );
    }
    format!("{host}; use the address that it points to")
}

/// What the members say that Jira, GitLab and Redmine explain refusals with.
fn texts(body: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["errorMessages", "message", "error", "error_description", "errors"] {
        if let Some(value) = body.get(name) {
            collect(value, None, &mut found);
        }
    }
    found.dedup();
    found
}

fn collect(value: &Value, name: Option<&str>, found: &mut Vec<String>) {
    // A tracker says little, or it is none.
    if found.len() >= 10 {
        return;
    }
    match value {
        Value::String(text) if !text.trim().is_empty() => found.push(match name {
            Some(name) => format!("{name}: {}", text.trim()),
            None => text.trim().to_owned(),
        }),
        Value::Array(values) => values.iter().for_each(|value| collect(value, name, found)),
        Value::Object(members) => members.iter().for_each(|(name, value)| collect(value, Some(name), found)),
        _ => {}
    }
}

/// Where these bytes stand, whatever their case.
fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use reqwest::Url;
    use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

    use super::{Answer, Auth, redirect_target};

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    fn says(headers: &HeaderMap, body: &str) -> String {
        let auth = Auth::Bearer("t0p-secret".to_owned());
        Answer { headers, body: body.as_bytes(), auth: &auth }.says()
    }

    #[test]
    fn what_trackers_say_is_told_in_one_line_without_our_secret() {
        let none = HeaderMap::new();
        for (body, told) in [
            (r#"{"errorMessages":["Issue Does Not Exist"],"errors":{}}"#, " It says: Issue Does Not Exist."),
            (
                r#"{"errorMessages":[],"errors":{"project":"The value 'X' does not exist."}}"#,
                " It says: project: The value 'X' does not exist.",
            ),
            (r#"{"message":"401 Unauthorized"}"#, " It says: 401 Unauthorized."),
            (
                r#"{"error":"invalid_token","error_description":"Token\n was  revoked."}"#,
                " It says: invalid_token; Token was revoked.",
            ),
            (r#"{"errors":["Subject can't be blank"]}"#, " It says: Subject can't be blank."),
            (r#"{"message":"no t0p-secret here"}"#, " It says: no [redacted] here."),
            (r#"{"something":"else"}"#, ""),
            ("[1,2]", ""),
            ("", ""),
        ] {
            assert_eq!(says(&none, body), told, "{body}");
        }
        let long = says(&none, &format!(r#"{{"message":"{}"}}"#, "ä".repeat(5_000)));
        assert!(long.chars().count() < 330 && long.ends_with("…."), "{long}");
        assert_eq!(
            says(&headers(CONTENT_TYPE, "text/plain"), "Basic Authentication Failure\nx"),
            " It says: Basic Authentication Failure."
        );
        let captcha = headers(
            HeaderName::from_static("x-authentication-denied-reason"),
            "CAPTCHA_CHALLENGE; login-url=https://j/login.jsp",
        );
        assert!(says(&captcha, "<html>").contains("captcha"));
    }

    #[test]
    fn what_is_no_json_is_called_what_it_is() {
        let auth = Auth::Nobody;
        let none = HeaderMap::new();
        let told = |headers: &HeaderMap, body: &[u8]| Answer { headers, body, auth: &auth }.instead_of_json();
        let login = b"<!DOCTYPE html><HTML><head><TITLE> Log in &amp;\n go </TITLE></head><input type=\"password\">";
        assert_eq!(told(&none, login), "a login page ('Log in & go') instead of JSON");
        assert_eq!(told(&none, b"<html><body>hi"), "a web page instead of JSON");
        assert_eq!(told(&headers(CONTENT_TYPE, "text/html; charset=x"), b"hi"), "a web page instead of JSON");
        assert_eq!(
            told(&headers(CONTENT_ENCODING, "br"), b"\x8b\x01"),
            "in the Content-Encoding 'br', which was not requested"
        );
        assert_eq!(told(&none, b"\x1f\x8b\x08"), "a gzip file instead of JSON");
        assert_eq!(told(&none, b""), "nothing instead of JSON");
        assert_eq!(told(&none, b"{\"a\":"), "JSON that is cut off or wrong");
    }

    #[test]
    fn a_redirect_to_a_login_is_called_that_and_no_token_is_told() {
        let from = Url::parse("https://jira.example/rest/x").expect("a URL");
        let to = |location| redirect_target(&from, Some(location));
        let told = to("https://id.example/saml2/sso?SAMLRequest=t0ken");
        assert!(told.starts_with("https://id.example, a login page") && !told.contains("t0ken"), "{told}");
        assert_eq!(to("http://jira.example/x"), "http://jira.example; use the address that it points to");
        assert_eq!(to("/rest/x"), "itself, repeatedly");
        assert_eq!(redirect_target(&from, None), "nowhere");
    }
}
