//! Whether a request is meant for this server, and whether another site's page had a
//! browser send it.
//!
//! Both are asked whether or not callers have to say who they are: a browser on a machine
//! that may do everything carries any page's requests there. A page of another site can
//! send some without asking (`Origin` and `Sec-Fetch-Site` tell on it), and one whose own
//! name leads to this server's address (DNS rebinding) can even read the answers (`Host`
//! tells).

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::{HOST, ORIGIN};

use super::Access;
use crate::error::{CROSS_SITE, FOREIGN_HOST};
use crate::{ApiError, AppSettings};

/// Where a request comes from, as a browser says: by `Sec-Fetch-Site`, which pages can't set,
/// and by `Origin`. Where they contradict each other, neither is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A page of this very origin.
    OwnPage,
    /// A page of another site.
    OtherSite,
    /// Nothing is said of it: it comes from a program, or someone typed the address.
    Unsaid,
}

impl Source {
    /// Where this request comes from.
    pub(crate) fn of(request: &HttpRequest, base_url: &str) -> Self {
        let origin = only(request, ORIGIN.as_str()).map(|origin| is_own_origin(request, origin, base_url));
        match (only(request, SEC_FETCH_SITE), origin) {
            (_, Some(false)) => Self::OtherSite,
            (Some("same-origin"), _) | (None, Some(true)) => Self::OwnPage,
            (Some("none"), _) | (None, None) => Self::Unsaid,
            (Some(_), _) => Self::OtherSite,
        }
    }
}

/// Refuses what is addressed to another name than ours, and what changes something at the
/// wish of another site's page; of an operation that is `for_pages`, whatever does not come
/// from a page of ours. What everyone may read is told at any name: nothing in it depends on
/// who asks.
pub(super) fn check(
    access: Access,
    for_pages: bool,
    request: &HttpRequest,
    settings: &AppSettings,
) -> Result<(), ApiError> {
    let changes = !request.method().is_safe();
    if access == Access::Public && !changes {
        return Ok(());
    }
    if !is_addressed_to_us(request, settings) {
        return Err(ApiError::new(
            FOREIGN_HOST,
            "The name in Host is not one of this server. If clients may use it, add it with --allowed-host.",
        ));
    }
    match Source::of(request, &settings.base_url) {
        Source::OtherSite if changes => Err(ApiError::new(
            CROSS_SITE,
            "A page of another site sent this. What changes something is taken from pages of this service, or from \
             programs, which send no Origin.",
        )),
        Source::OtherSite | Source::Unsaid if for_pages => Err(ApiError::new(
            CROSS_SITE,
            "The service accepts this only from its own pages. Use their buttons; programs use the API.",
        )),
        _ => Ok(()),
    }
}

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// A header's value; one that says nothing good if there are several.
fn only<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    let mut values = request.headers().get_all(name);
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.to_str().unwrap_or("")),
        (None, _) => None,
        _ => Some(""),
    }
}

/// Whether an origin is that of the public address, or that of the name by which the
/// request was sent. Of https there is no way back to http.
fn is_own_origin(request: &HttpRequest, origin: &str, base_url: &str) -> bool {
    if origin == origin_of(base_url) {
        return true;
    }
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let downgraded = scheme == "http" && base_url.starts_with("https://");
    matches!(scheme, "http" | "https")
        && !downgraded
        && only(request, HOST.as_str()).is_some_and(|host| host.eq_ignore_ascii_case(authority))
}

/// Scheme, host and port of an address (RFC 6454, 6.1).
fn origin_of(base_url: &str) -> String {
    reqwest::Url::parse(base_url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
}

/// Whether the name in `Host` is one of ours: that of the public address, of this machine
/// itself, one that the settings list, or an address (no page can make a browser send
/// another address than that which it connects to). HTTP/1.0 may leave it out.
fn is_addressed_to_us(request: &HttpRequest, settings: &AppSettings) -> bool {
    let target = request.uri().authority().map(|authority| authority.as_str());
    only(request, HOST.as_str()).into_iter().chain(target).all(|host| {
        name_of(host).is_some_and(|name| {
            name.eq_ignore_ascii_case("localhost")
                || name.parse::<IpAddr>().is_ok()
                || after_scheme(&settings.base_url).and_then(name_of).is_some_and(|own| own.eq_ignore_ascii_case(name))
                || settings.hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
        })
    })
}

/// Name and port in an address.
fn after_scheme(url: &str) -> Option<&str> {
    url.split_once("://")?.1.split('/').next()
}

/// The name or address in a `Host`, without its port.
fn name_of(host: &str) -> Option<&str> {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.strip_prefix('[') {
        Some(rest) => {
            let (inside, port) = rest.split_once(']')?;
            inside.parse::<std::net::Ipv6Addr>().ok()?;
            port.strip_prefix(':').map_or(port.is_empty(), is_port).then_some(inside)?
        }
        None => match host.split_once(':') {
            Some((name, port)) => is_port(port).then_some(name)?,
            None => host,
        },
    };
    Some(name.strip_suffix('.').unwrap_or(name)).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::Source::{OtherSite, OwnPage, Unsaid};
    use super::{Source, is_addressed_to_us, name_of};
    use crate::AppSettings;
    use actix_web::HttpRequest;
    use actix_web::test::TestRequest;

    const BASE: &str = "https://h.example:8443/tasks";

    fn request(headers: &[(&str, &str)]) -> HttpRequest {
        headers.iter().fold(TestRequest::post(), |request, header| request.append_header(*header)).to_http_request()
    }

    #[test]
    fn a_browser_says_whose_page_sent_a_request() {
        let own = ("origin", "https://h.example:8443");
        let evil = ("origin", "https://evil.example");
        let site = |value| ("sec-fetch-site", value);
        for (headers, source) in [
            (&[][..], Unsaid),
            (&[site("same-origin")], OwnPage),
            (&[site("same-origin"), own], OwnPage),
            (&[own], OwnPage),
            // Host is checked apart.
            (&[("origin", "https://other.example"), ("host", "other.example")], OwnPage),
            (&[site("none")], Unsaid),
            (&[site("none"), own], Unsaid),
            (&[site("none"), evil], OtherSite),
            (&[site("cross-site")], OtherSite),
            (&[site("same-site")], OtherSite),
            (&[site("same-site"), own], OtherSite),
            (&[site(""), own], OtherSite),
            (&[site("same-origin"), site("cross-site")], OtherSite),
            (&[site("same-origin"), site("same-origin")], OtherSite),
            (&[site("same-origin"), evil], OtherSite),
            (&[evil], OtherSite),
            (&[own, own], OtherSite),
            (&[("origin", "https://h.example")], OtherSite),
            (&[("origin", "http://h.example:8443")], OtherSite),
            (&[("origin", "null")], OtherSite),
            (&[("origin", "")], OtherSite),
            (&[("origin", "https://h.example:8443.evil.example")], OtherSite),
            // Of https there is no way back to http.
            (&[("origin", "http://h.example:8443"), ("host", "h.example:8443")], OtherSite),
        ] {
            assert_eq!(Source::of(&request(headers), BASE), source, "{headers:?}");
        }
    }

    #[test]
    fn names_of_others_are_not_ours() {
        let mut settings = AppSettings::new(BASE);
        settings.hosts.push("queue.internal".to_owned());
        let known = |host: &str| is_addressed_to_us(&request(&[("host", host)]), &settings);
        for host in
            ["h.example", "H.example:1", "localhost:80", "127.0.0.1:80", "[::1]:80", "queue.internal", "10.0.0.1"]
        {
            assert!(known(host), "{host}");
        }
        for host in ["evil.example", "h.example.evil.example", "xh.example", "a@localhost", "localhost:x", "", ":80"] {
            assert!(!known(host), "{host}");
        }
        assert!(!is_addressed_to_us(&request(&[("host", "localhost"), ("host", "evil.example")]), &settings));
        assert_eq!(name_of("[::1"), None);
        assert_eq!(name_of("[evil.example]"), None);
    }
}
