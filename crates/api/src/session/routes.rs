//! `/login` and `/logout`.

use std::net::IpAddr;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE};
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::audit::{Deed, record};
use longhaul_model::store::session::{self, NewSession};
use serde_json::{Value, json};

use super::cookie::{Id, Jar};
use super::oidc;
use super::origin::is_ours;
use super::page::{LoginPage, STYLE};
use super::{Login, whoami};
use crate::access::secret::Secret;
use crate::access::{Access, Caller, client_address};
use crate::error::CROSS_SITE;
use crate::openapi::text;
use crate::{ApiError, App, Operation, Resource, Routes, unreadable};

/// Where a login leads unless a page asked for it.
const HOME: &str = "/";
/// The body of a login by key may have this many bytes.
const MOST_BYTES: usize = 4 * 1024;
/// A return address may have this many.
const MOST_RETURN: usize = 1_000;

pub(crate) fn add(routes: &mut Routes, login: &Login) {
    routes.add(
        Resource::at("/login").body_limit(MOST_BYTES).get(show, show_operation()).post(by_key, by_key_operation()),
    );
    routes.add(Resource::at("/login/style.css").get(style, style_operation()));
    if login.inner.provider.is_some() {
        routes.add(Resource::at("/login/oidc").get(oidc::begin, oidc::begin_operation()));
        routes.add(Resource::at("/login/callback").get(oidc::end, oidc::end_operation()));
    }
    routes.add(Resource::at("/api/session").get(whoami::handle, whoami::operation()));
    routes.add(Resource::at("/logout").post(logout, logout_operation()));
}

/// An operation of the login, for everyone.
pub(super) fn operation(id: &'static str, summary: &'static str) -> Operation {
    Operation::new("Login", id, summary).needs(Access::Public)
}

fn show_operation() -> Operation {
    operation("getLogin", "The page to log in at.")
        .without_database()
        .query("return", "The path to go to afterwards.", text())
        .answers_bytes(200, "text/html", "The page.")
}

/// `200` with the page.
async fn show(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let login = app.login()?;
    Ok(login.page(&leads_to(&request), None).response(StatusCode::OK))
}

fn style_operation() -> Operation {
    operation("getLoginStyle", "How the login page looks.").without_database().answers_bytes(
        200,
        "text/css",
        "The style sheet.",
    )
}

/// `200` with the style sheet.
async fn style() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/css; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "max-age=3600"))
        .body(STYLE)
}

fn by_key_operation() -> Operation {
    operation("logIn", "Logs in by an API key, sent by the login page's form.")
        .query("return", "The path to go to afterwards.", text())
        .reads_form("The field `key`.")
        .answers_nothing(303, "Logged in.")
        .with_header("Location", "Where to go.")
        .with_header("Set-Cookie", "The session.")
        .answers_bytes(401, "text/html", "The page, with what is wrong.")
        .problem(CROSS_SITE)
}

/// `303` with the session's cookie, or `401` with the page.
async fn by_key(
    app: web::Data<App>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let login = app.login()?;
    must_be_ours(&request, &app)?;
    let visitor = Visitor::of(&request, &app);
    visitor.may_try(&app)?;
    let body = body.map_err(|error| unreadable(&error, MOST_BYTES))?;
    let form = std::str::from_utf8(&body).unwrap_or("");
    let leads_to = leads_to(&request);
    let key = value(form, "key").unwrap_or_default();
    let key = key.trim();
    let caller = match &login.inner.keys {
        Some(keys) => keys.caller(key).await?,
        None => None,
    };
    let (Some(caller), Some(secret)) = (caller, Secret::read(key)) else {
        visitor.was_refused(&app, "key", key_prefix(key)).await?;
        let complaint = "That key is not valid: it is unknown, or has expired or been revoked.";
        return Ok(login.page(&leads_to, Some(complaint)).response(StatusCode::UNAUTHORIZED));
    };
    login.begin(&app, &visitor, &caller, Some(secret.prefix()), &[], &leads_to).await
}

fn logout_operation() -> Operation {
    operation("logOut", "Ends the session.")
        .query("csrf", "The page's token.", text())
        .answers_nothing(303, "Logged out.")
        .with_header("Location", "The login page.")
        .problem(CROSS_SITE)
}

/// `303` to the login page; the session is over, if there was one.
async fn logout(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let login = app.login()?;
    must_be_ours(&request, &app)?;
    if let Some(id) = Jar::Session.value(&request, app.base_url()).and_then(|text| Id::read(&text)) {
        let mut transaction = login.inner.pool.begin().await?;
        if let Some(who) = session::end(&mut *transaction, &id.hash()).await? {
            let deed = Visitor::of(&request, &app).deed("logOut", who, None);
            record(&mut *transaction, &[deed]).await?;
        }
        transaction.commit().await?;
    }
    Ok(HttpResponse::SeeOther()
        .insert_header((LOCATION, "/login"))
        .insert_header(("clear-site-data", "\"cache\""))
        .append_header((SET_COOKIE, Jar::Session.removal(app.base_url())))
        .finish())
}

/// Who comes to log in or out.
pub(super) struct Visitor {
    address: Option<IpAddr>,
}

impl Visitor {
    pub(super) fn of(request: &HttpRequest, app: &App) -> Self {
        Self { address: client_address(request, &app.inner.settings.trusted_proxies) }
    }

    /// Refuses an address that guesses, here as where credentials come with a request.
    fn may_try(&self, app: &App) -> Result<(), ApiError> {
        app.inner.limiter.as_ref().map_or(Ok(()), |limiter| limiter.may_try(self.address))
    }

    fn deed(&self, deed: &str, who: impl Into<String>, details: Option<Value>) -> Deed {
        Deed { who: who.into(), address: self.address, deed: deed.to_owned(), target: None, details }
    }

    /// Counts a login that was refused, and writes it down.
    pub(super) async fn was_refused(&self, app: &App, by: &str, key: Option<&str>) -> Result<(), ApiError> {
        if let Some(limiter) = &app.inner.limiter {
            limiter.was_wrong(self.address);
        }
        let deed = self.deed("refuseLogIn", NOBODY, Some(json!({"By": by, "Key": key})));
        Ok(record(app.pool(), &[deed]).await?)
    }
}

/// Who could not log in.
const NOBODY: &str = "anonymous";

/// What people know a key by, if that is what was shown; of anything else nothing is
/// written down.
fn key_prefix(key: &str) -> Option<&str> {
    let prefix = key.get(..13).filter(|_| Secret::is_meant(key))?;
    prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then_some(prefix)
}

/// A form that another site sends could log its own person in here, or ours out.
fn must_be_ours(request: &HttpRequest, app: &App) -> Result<(), ApiError> {
    if is_ours(request, app.base_url()) {
        Ok(())
    } else {
        Err(ApiError::new(CROSS_SITE, "This is taken from pages of this service only."))
    }
}

impl App {
    /// # Errors
    /// 500: the routes are there only if it is.
    pub(super) fn login(&self) -> Result<&Login, ApiError> {
        self.inner.login.as_ref().ok_or_else(|| ApiError::internal("there is no login"))
    }
}

impl Login {
    pub(super) fn page<'a>(&'a self, leads_to: &'a str, complaint: Option<&'a str>) -> LoginPage<'a> {
        LoginPage {
            by_key: self.inner.keys.is_some(),
            provider: self.inner.provider.as_ref().map(|provider| provider.name()),
            leads_to,
            complaint,
        }
    }

    /// Begins a session, always under a new id, and leads on.
    pub(super) async fn begin(
        &self,
        app: &App,
        visitor: &Visitor,
        caller: &Caller,
        key_prefix: Option<&str>,
        permissions: &[String],
        leads_to: &str,
    ) -> Result<HttpResponse, ApiError> {
        let id = Id::random().map_err(ApiError::internal)?;
        let session = NewSession {
            id_hash: &id.hash(),
            subject: caller.subject(),
            name: caller.name(),
            key_prefix,
            permissions,
            seconds: i64::try_from(self.inner.settings.whole.as_secs()).unwrap_or(i64::MAX),
        };
        let (by, shown) = (if key_prefix.is_some() { "key" } else { "provider" }, key_prefix);
        let deed = visitor.deed("logIn", caller.subject(), Some(json!({"By": by, "Key": shown})));
        let mut transaction = self.inner.pool.begin().await?;
        session::begin(&mut *transaction, &session).await?;
        record(&mut *transaction, &[deed]).await?;
        transaction.commit().await?;
        Ok(HttpResponse::SeeOther()
            .insert_header((LOCATION, leads_to))
            .insert_header((CACHE_CONTROL, "no-store"))
            .append_header((SET_COOKIE, Jar::Session.header(app.base_url(), id.text())))
            .append_header((SET_COOKIE, Jar::Login.removal(app.base_url())))
            .finish())
    }
}

/// Where a login that this request asks for leads.
pub(super) fn leads_to(request: &HttpRequest) -> String {
    value(request.query_string(), "return").filter(|path| is_path(path)).unwrap_or_else(|| HOME.to_owned())
}

/// Whether this is a path of ours, which no browser takes for an address elsewhere.
pub(super) fn is_path(path: &str) -> bool {
    path.len() <= MOST_RETURN
        && path.starts_with('/')
        && !path.starts_with("//")
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// A value in a query or form.
pub(super) fn value(query: &str, name: &str) -> Option<String> {
    let url = reqwest::Url::parse(&format!("x:/?{}", query.replace('#', "%23"))).ok()?;
    url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

/// A query or form of these values.
pub(super) fn query(values: &[(&str, &str)]) -> String {
    let Ok(mut url) = reqwest::Url::parse("x:/") else { return String::new() };
    url.query_pairs_mut().extend_pairs(values);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{is_path, query, value};

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

    #[test]
    fn queries_are_read_as_they_are_written() {
        let written = query(&[("return", "/a?b=c&d=#é+ x"), ("key", "k")]);
        assert_eq!(value(&written, "return").as_deref(), Some("/a?b=c&d=#é+ x"));
        assert_eq!(value(&written, "key").as_deref(), Some("k"));
        assert_eq!(value("a=1#&key=x", "key").as_deref(), Some("x"));
        assert_eq!(value("", "key"), None);
    }
}
