//! Forms are taken from our own pages only.

use actix_web::HttpRequest;
use actix_web::http::header::{HOST, ORIGIN};
use longhaul_api::ApiError;
use longhaul_model::ProblemKind;

/// The form stood on another site.
pub(crate) const FOREIGN_FORM: ProblemKind =
    ProblemKind { code: "foreign-form", title: "The form is not one of ours", status: 403 };

/// Refuses a form that another site had a browser send. Browsers say where a request
/// comes from, by `Sec-Fetch-Site` or `Origin`, and no page can make them lie.
///
/// # Errors
/// 403.
pub(crate) fn must_be_ours(request: &HttpRequest) -> Result<(), ApiError> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let ours = match header("sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => {
            let origin = header(ORIGIN.as_str()).and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
            origin.is_some() && origin == header(HOST.as_str())
        }
    };
    if ours {
        return Ok(());
    }
    Err(ApiError::new(FOREIGN_FORM, "This came from a page of another site. Use the buttons of these pages."))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::must_be_ours;

    fn takes(headers: &[(&'static str, &'static str)]) -> bool {
        let mut request = TestRequest::default().insert_header(("host", "queue.example:8080"));
        for header in headers {
            request = request.append_header(*header);
        }
        must_be_ours(&request.to_http_request()).is_ok()
    }

    #[test]
    fn only_what_our_own_pages_send_is_taken() {
        assert!(takes(&[("sec-fetch-site", "same-origin")]));
        assert!(takes(&[("origin", "https://queue.example:8080")]));
        for foreign in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site"), ("origin", "https://queue.example:8080")],
            &[("sec-fetch-site", "none")],
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
            &[],
        ] {
            assert!(!takes(foreign), "{foreign:?}");
        }
    }
}
