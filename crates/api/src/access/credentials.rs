//! The credentials in the header `Authorization`.

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Name and password of `Authorization: Basic` (RFC 7617).
#[derive(Clone, PartialEq, Eq)]
pub struct Basic {
    /// What stands before the first colon.
    pub name: String,
    /// The rest.
    pub password: String,
}

/// The token of `Authorization: Bearer` (RFC 6750, 2.1), if that is what there is.
#[must_use]
pub fn bearer(request: &HttpRequest) -> Option<&str> {
    after_scheme(request, "bearer")
}

/// The credentials of `Authorization: Basic`, if that is what there is, in UTF-8.
#[must_use]
pub fn basic(request: &HttpRequest) -> Option<Basic> {
    let decoded = BASE64_STANDARD.decode(after_scheme(request, "basic")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (name, password) = text.split_once(':')?;
    Some(Basic { name: name.to_owned(), password: password.to_owned() })
}

fn after_scheme<'a>(request: &'a HttpRequest, scheme: &str) -> Option<&'a str> {
    let mut values = request.headers().get_all(AUTHORIZATION);
    // Two headers could be read one way here and another way by a proxy.
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (given, rest) = value.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

#[cfg(test)]
mod tests {
    use super::{basic, bearer};
    use actix_web::HttpRequest;
    use actix_web::test::TestRequest;

    fn request(values: &[&str]) -> HttpRequest {
        let add = |request: TestRequest, value: &&str| request.append_header(("authorization", *value));
        values.iter().fold(TestRequest::default(), add).to_http_request()
    }

    #[test]
    fn the_scheme_decides_what_is_read() {
        assert_eq!(bearer(&request(&["Bearer abc"])), Some("abc"));
        assert_eq!(bearer(&request(&["bearer  abc "])), Some("abc"));
        assert_eq!(bearer(&request(&["Basic abc"])), None);
        assert_eq!(bearer(&request(&["Bearer"])), None);
        assert_eq!(bearer(&request(&["Bearer a", "Bearer b"])), None);
        assert_eq!(bearer(&request(&[])), None);
    }

    #[test]
    fn a_password_may_have_colons_and_a_name_may_be_empty() {
        let read = |text: &str| basic(&request(&[text])).map(|basic| (basic.name, basic.password));
        assert_eq!(read("Basic YTpiOmM="), Some(("a".to_owned(), "b:c".to_owned())));
        assert_eq!(read("BASIC OmI="), Some((String::new(), "b".to_owned())));
        for wrong in ["Basic YQ==", "Basic !", "Basic /w==", "Bearer YTpi"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
