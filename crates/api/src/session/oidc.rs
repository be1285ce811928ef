//! Login at the provider: there, and back.
//!
//! Between the two the server keeps nothing. The browser holds a random id, and state,
//! nonce and PKCE's verifier are derived from it, each for its purpose: an answer counts
//! in the browser that asked for it, for ten minutes, and in no other.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, LOCATION, SET_COOKIE};
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::cookie::{Id, Jar};
use super::routes::{Visitor, is_path, leads_to, operation, value};
use super::{Login, Provider};
use crate::access::CallerKind;
use crate::oauth::Refusal;
use crate::openapi::text;
use crate::{ApiError, App, Operation};

pub(super) fn begin_operation() -> Operation {
    operation("logInAtProvider", "Leads to the provider's login.")
        .query("return", "The path to go to afterwards.", text())
        .answers_nothing(303, "The provider's login.")
        .with_header("Location", "Where to go.")
        .answers_bytes(503, "text/html", "The page: the provider does not answer.")
}

/// `303` to the provider.
pub(super) async fn begin(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (login, provider) = parts(&app)?;
    let id = Id::random().map_err(ApiError::internal)?;
    let leads_to = leads_to(&request);
    let secrets = Secrets::of(&id);
    let address = provider.authorization(&redirect(&app), &secrets.state, &secrets.nonce, &secrets.verifier).await;
    match address {
        Ok(address) => Ok(HttpResponse::SeeOther()
            .insert_header((LOCATION, address))
            .insert_header((CACHE_CONTROL, "no-store"))
            .append_header((
                SET_COOKIE,
                Jar::Login
                    .header(app.base_url(), format!("{}.{}", id.text(), BASE64_URL_SAFE_NO_PAD.encode(&leads_to))),
            ))
            .finish()),
        Err(refusal) => Ok(refused(login, &leads_to, &refusal)),
    }
}

pub(super) fn end_operation() -> Operation {
    operation("logInFromProvider", "Where the provider sends a browser back to.")
        .query("code", "What becomes an ID token.", text())
        .query("state", "Which login it belongs to.", text())
        .query("iss", "The provider.", text())
        .query("error", "Why there is no code.", text())
        .query("error_description", "The same for people.", text())
        .query("session_state", "Of no use here.", text())
        .answers_nothing(303, "Logged in.")
        .with_header("Location", "Where to go.")
        .with_header("Set-Cookie", "The session.")
        .answers_bytes(401, "text/html", "The page, with what is wrong.")
        .answers_bytes(503, "text/html", "The page: the provider does not answer.")
}

/// `303` with the session's cookie, or the page with what is wrong.
pub(super) async fn end(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (login, provider) = parts(&app)?;
    let visitor = Visitor::of(&request, &app);
    let kept = Jar::Login.value(&request, app.base_url());
    let kept = kept.as_deref().and_then(|kept| kept.split_once('.'));
    let leads_to = kept.and_then(|(_, path)| String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(path).ok()?).ok());
    let leads_to = leads_to.filter(|path| is_path(path));
    let leads_to = leads_to.unwrap_or_else(|| super::routes::leads_to(&request));
    let said = |name: &str| value(request.query_string(), name);
    let secrets = kept.and_then(|(id, _)| Id::read(id)).filter(|id| {
        // As long wherever they differ.
        said("state").is_some_and(|state| id.has_derived("state", &state))
    });
    let Some(secrets) = secrets.as_ref().map(Secrets::of) else {
        visitor.was_refused(&app, "provider", None).await?;
        let why = "That login was begun in another browser, or more than ten minutes ago. Begin again.";
        return Ok(login.page(&leads_to, Some(why)).response(StatusCode::UNAUTHORIZED));
    };
    let result = async {
        if !provider.is_answer_of(said("iss").as_deref()).await? {
            return Err(Refusal::invalid("The answer comes from another provider."));
        }
        if let Some(error) = said("error") {
            tracing::info!(error, description = said("error_description"), "a login was refused by the provider");
            return Err(Refusal::invalid("The provider did not let you in."));
        }
        let code = said("code").ok_or_else(|| Refusal::invalid("The provider's answer has no code."))?;
        provider.bearer(&code, &redirect(&app), &secrets.nonce, &secrets.verifier, app.now().timestamp()).await
    };
    match result.await {
        Ok(bearer) => {
            let permissions: Vec<String> = bearer.permissions.iter().map(ToString::to_string).collect();
            let caller = bearer.caller(provider.name(), CallerKind::Session);
            login.begin(&app, &visitor, &caller, None, &permissions, &leads_to).await
        }
        Err(refusal) => {
            if matches!(refusal, Refusal::Invalid(_)) {
                visitor.was_refused(&app, "provider", None).await?;
            }
            Ok(refused(login, &leads_to, &refusal))
        }
    }
}

/// What a browser's login is known by; all of it derived from the id that it holds.
struct Secrets {
    state: String,
    nonce: String,
    verifier: String,
}

impl Secrets {
    fn of(id: &Id) -> Self {
        Self { state: id.derived("state"), nonce: id.derived("nonce"), verifier: id.derived("verifier") }
    }
}

fn parts(app: &App) -> Result<(&Login, &Provider), ApiError> {
    let login = app.login()?;
    let provider = login.inner.provider.as_ref().ok_or_else(|| ApiError::internal("there is no provider"))?;
    Ok((login, provider))
}

/// Where the provider sends browsers back to; it must know this address.
fn redirect(app: &App) -> String {
    format!("{}/login/callback", app.base_url())
}

fn refused(login: &Login, leads_to: &str, refusal: &Refusal) -> HttpResponse {
    match refusal {
        Refusal::Invalid(why) => login.page(leads_to, Some(why)).response(StatusCode::UNAUTHORIZED),
        Refusal::Unknowable(_) => {
            let why = "The provider does not answer now. Try again in a moment.";
            login.page(leads_to, Some(why)).response(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}
