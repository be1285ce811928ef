//! `/login` and `/logout`.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE};
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::audit::record;
use longhaul_model::store::session;

use super::cookie::{Id, Jar};
use super::login::{Login, operation};
use super::page::STYLE;
use super::visitor::Visitor;
use super::{oidc, whoami};
use crate::access::secret::Secret;
use crate::openapi::text;
use crate::query_string::value;
use crate::return_path::leads_to;
use crate::{ApiError, App, Operation, Resource, Routes, unreadable};

/// The body of a login by key may have this many bytes.
const MOST_BYTES: usize = 4 * 1024;

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

fn show_operation() -> Operation {
    operation("getLogin", "The login page.")
        .without_database()
        .query("return", "The path to redirect to afterwards.", text())
        .answers_bytes(200, "text/html", "The page.")
}

/// `200` with the page.
async fn show(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let login = app.login()?;
    Ok(login.page(&leads_to(&request), None).response(StatusCode::OK))
}

fn style_operation() -> Operation {
    operation("getLoginStyle", "The login page's style sheet.").without_database().answers_bytes(
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
    // A form that another site sends could log its own person in here, or ours out.
    operation("logIn", "Logs in with an API key from the login page's form.")
        .only_from_own_pages()
        .query("return", "The path to redirect to afterwards.", text())
        .reads_form("The field `key`.")
        .answers_nothing(303, "Logged in.")
        .with_header("Location", "The address of the redirect.")
        .with_header("Set-Cookie", "The session.")
        .answers_bytes(401, "text/html", "The page, with an error message.")
}

/// `303` with the session's cookie, or `401` with the page.
async fn by_key(
    app: web::Data<App>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let login = app.login()?;
    let visitor = Visitor::of(&request, &app);
    let body = body.map_err(|error| unreadable(&error, MOST_BYTES))?;
    let form = std::str::from_utf8(&body).unwrap_or("");
    let leads_to = leads_to(&request);
    let key = value(form, "key").unwrap_or_default();
    let key = key.trim();
    let attempt = visitor.attempt(&app).await;
    let caller = match &login.inner.keys {
        Some(keys) => keys.caller(key).await?,
        None => None,
    };
    let (Some(caller), Some(secret)) = (caller, Secret::read(key)) else {
        visitor.was_refused(&app, attempt, "key", key_prefix(key)).await?;
        let complaint = "The key is not valid: it is unknown, expired or revoked.";
        return Ok(login.page(&leads_to, Some(complaint)).response(StatusCode::UNAUTHORIZED));
    };
    login.begin(&app, &visitor, &caller, Some(secret.prefix()), &[], &leads_to).await
}

fn logout_operation() -> Operation {
    operation("logOut", "Ends the session.")
        .only_from_own_pages()
        .query("csrf", "The page's token.", text())
        .answers_nothing(303, "Logged out.")
        .with_header("Location", "The login page.")
}

/// `303` to the login page; the session is over, if there was one.
async fn logout(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let login = app.login()?;
    if let Some(id) = Jar::Session.value(&request, app.base_url()).and_then(|text| Id::read(&text)) {
        let mut transaction = login.inner.pool.begin().await?;
        if let Some(who) = session::end(&mut *transaction, &id.hash(&login.inner.hasher)).await? {
            let deed = Visitor::of(&request, &app).audit_entry("logOut", who, None);
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

/// What people know a key by, if that is what was shown; of anything else nothing is
/// written down.
fn key_prefix(key: &str) -> Option<&str> {
    let prefix = key.get(..13).filter(|_| Secret::is_meant(key))?;
    prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then_some(prefix)
}
