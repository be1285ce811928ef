//! The path that a browser returns to after its login: on its way through addresses, and read
//! back.

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, LOCATION};
use actix_web::{HttpRequest, HttpResponse};

use crate::query_string::{query, value};

/// Where a login leads unless a page asked for it.
const HOME: &str = "/";
/// A return path may have this many bytes.
const MOST_RETURN: usize = 1_000;

/// Where a browser that asks for a page without a session is sent: to the login.
pub(crate) fn login_first(request: &ServiceRequest) -> Option<HttpResponse> {
    let wants_page = request.method() == Method::GET
        && request
            .headers()
            .get_all(ACCEPT)
            .filter_map(|value| value.to_str().ok())
            .any(|text| text.contains("text/html"));
    if !wants_page {
        return None;
    }
    let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
    let address = format!("/login?{}", query(&[("return", asked)]));
    Some(HttpResponse::SeeOther().insert_header((LOCATION, address)).finish())
}

/// Where a login that this request asks for leads.
pub(crate) fn leads_to(request: &HttpRequest) -> String {
    value(request.query_string(), "return").filter(|path| is_path(path)).unwrap_or_else(|| HOME.to_owned())
}

/// Whether this is a path of ours, which no browser takes for an address elsewhere.
pub(crate) fn is_path(path: &str) -> bool {
    path.len() <= MOST_RETURN
        && path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::is_path;

    #[test]
    fn a_login_leads_to_paths_of_ours_only() {
        for good in ["/", "/dashboard", "/dashboard/tasks?state=Failed&x=%2F#a"] {
            assert!(is_path(good), "{good}");
        }
        for bad in [
            "",
            "dashboard",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\nb",
            "/ä",
            &"/a".repeat(501),
        ] {
            assert!(!is_path(bad), "{bad}");
        }
    }
}
