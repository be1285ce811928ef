//! Whether a request comes from a page of ours.

use actix_web::HttpRequest;

/// Whether a browser says that a page of this very origin sent the request: by
/// `Sec-Fetch-Site`, which pages can't set, else by `Origin`. Who says neither is no
/// browser of these years, and is not believed.
pub(super) fn is_ours(request: &HttpRequest, base_url: &str) -> bool {
    let header = |name: &str| {
        let mut values = request.headers().get_all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => Some(value.to_str().unwrap_or("")),
            (None, _) => None,
            _ => Some(""),
        }
    };
    let origin = header("origin");
    match header("sec-fetch-site") {
        // An Origin that contradicts it is not believed either.
        Some(site) => site == "same-origin" && origin.is_none_or(|origin| origin == origin_of(base_url)),
        None => origin.is_some_and(|origin| origin == origin_of(base_url)),
    }
}

/// Scheme, host and port of an address (RFC 6454, 6.1).
fn origin_of(base_url: &str) -> String {
    reqwest::Url::parse(base_url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::is_ours;
    use actix_web::test::TestRequest;

    fn ours(headers: &[(&str, &str)]) -> bool {
        let request = headers.iter().fold(TestRequest::post(), |request, header| request.append_header(*header));
        is_ours(&request.to_http_request(), "https://h.example:8443/tasks")
    }

    #[test]
    fn only_pages_of_the_same_origin_are_ours() {
        assert!(ours(&[("sec-fetch-site", "same-origin")]));
        assert!(ours(&[("sec-fetch-site", "same-origin"), ("origin", "https://h.example:8443")]));
        assert!(ours(&[("origin", "https://h.example:8443")]));
        for wrong in ["same-site", "cross-site", "none", ""] {
            assert!(!ours(&[("sec-fetch-site", wrong), ("origin", "https://h.example:8443")]), "{wrong}");
        }
        for wrong in ["https://h.example", "http://h.example:8443", "null", "", "https://h.example:8443.evil.example"] {
            assert!(!ours(&[("origin", wrong)]), "{wrong}");
        }
        assert!(!ours(&[]));
        assert!(!ours(&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")]));
        assert!(!ours(&[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")]));
    }
}
