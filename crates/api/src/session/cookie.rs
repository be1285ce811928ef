//! The cookies, and the random ids in them.

use actix_web::HttpRequest;
use actix_web::http::header::{COOKIE, HeaderValue};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cookie::{Cookie, SameSite, time};
use ring::hmac::{self, HMAC_SHA256};

use crate::access::secret::Hasher;

/// 256 random bits that only a browser knows, and what is derived of them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Id([u8; 32]);

impl Id {
    /// One that nobody has seen.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        Some(Self(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?))
    }

    pub(super) fn text(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What the database knows it by.
    pub(super) fn hash(&self, hasher: &Hasher) -> [u8; 32] {
        hasher.session(&self.0)
    }

    /// A text for one purpose that tells nothing about the id or other purposes.
    pub(super) fn derived(&self, purpose: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&self.key(), purpose.as_bytes()))
    }

    /// Whether a text is the one for this purpose; takes as long wherever they differ.
    pub(super) fn has_derived(&self, purpose: &str, text: &str) -> bool {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text);
        bytes.is_ok_and(|bytes| hmac::verify(&self.key(), purpose.as_bytes(), &bytes).is_ok())
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(HMAC_SHA256, &self.0)
    }
}

/// Which cookie.
#[derive(Debug, Clone, Copy)]
pub(super) enum Jar {
    /// The session's id.
    Session,
    /// What a login at the provider is known by until the browser is back.
    Login,
}

/// How long a login at the provider may take.
pub(super) const LOGIN_MINUTES: i64 = 10;

impl Jar {
    /// Over https the name begins with `__Host-`: browsers then take it only from this
    /// very host, over https, for all paths (RFC 6265bis, 4.1.3.2).
    fn name(self, base_url: &str) -> &'static str {
        match (self, base_url.starts_with("https://")) {
            (Self::Session, true) => "__Host-longhaul",
            (Self::Session, false) => "longhaul",
            (Self::Login, true) => "__Host-longhaul-login",
            (Self::Login, false) => "longhaul-login",
        }
    }

    /// The cookie with this value. It is `Lax`: the way back from the provider begins on
    /// another site, and `Strict` would not let it arrive. What changes something is
    /// checked by origin and token besides.
    pub(super) fn header(self, base_url: &str, value: String) -> HeaderValue {
        header(&self.cookie(base_url, value))
    }

    fn cookie(self, base_url: &str, value: String) -> Cookie<'static> {
        let cookie = Cookie::build((self.name(base_url), value))
            .path("/")
            .http_only(true)
            .secure(base_url.starts_with("https://"))
            .same_site(SameSite::Lax);
        match self {
            // Until the browser ends; the server knows when the session does.
            Self::Session => cookie.build(),
            Self::Login => cookie.max_age(time::Duration::minutes(LOGIN_MINUTES)).build(),
        }
    }

    /// The cookie that takes it away.
    pub(super) fn removal(self, base_url: &str) -> HeaderValue {
        let mut cookie = self.cookie(base_url, String::new());
        cookie.make_removal();
        header(&cookie)
    }

    /// Its value in a request. Of two of one name none is believed.
    pub(super) fn value(self, request: &HttpRequest, base_url: &str) -> Option<String> {
        let headers = request.headers().get_all(COOKIE).filter_map(|value| value.to_str().ok());
        let mut named = headers
            .flat_map(Cookie::split_parse)
            .filter_map(Result::ok)
            .filter(|found| found.name() == self.name(base_url));
        match (named.next(), named.next()) {
            (Some(cookie), None) => Some(cookie.value().to_owned()),
            _ => None,
        }
    }
}

/// All of it is of visible ASCII characters.
fn header(cookie: &Cookie<'_>) -> HeaderValue {
    HeaderValue::from_str(&cookie.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::{Id, Jar};

    #[test]
    fn what_is_derived_is_checked_and_says_nothing_of_other_purposes() {
        let (id, other) = (Id::random().expect("randomness"), Id::random().expect("randomness"));
        assert_eq!(Id::read(&id.text()).map(|read| read.text()), Some(id.text()));
        assert!(id.has_derived("a", &id.derived("a")));
        for wrong in
            [id.derived("b"), other.derived("a"), String::new(), "ä".to_owned(), id.derived("a")[1..].to_owned()]
        {
            assert!(!id.has_derived("a", &wrong), "{wrong}");
        }
        for wrong in ["", "abc", &id.text()[1..], "é"] {
            assert!(Id::read(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn over_https_cookies_are_bound_to_the_host() {
        let cookie = Jar::Session.cookie("https://h", "x".to_owned()).to_string();
        assert_eq!(cookie, "__Host-longhaul=x; HttpOnly; SameSite=Lax; Secure; Path=/");
        assert_eq!(
            Jar::Session.cookie("http://h", "x".to_owned()).to_string(),
            "longhaul=x; HttpOnly; SameSite=Lax; Path=/"
        );
    }
}
