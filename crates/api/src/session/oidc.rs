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
use super::login::{Login, operation};
use super::provider::Provider;
use super::visitor::Visitor;
use crate::access::CallerKind;
use crate::oauth::Refusal;
use crate::openapi::text;
use crate::query_string::value;
use crate::return_path::{self, is_path};
use crate::{ApiError, App, Operation};

pub(super) fn begin_operation() -> Operation {
    operation("logInAtProvider", "Redirects to the provider's login.")
        .query("return", "The path to redirect to afterwards.", text())
        .answers_nothing(303, "The provider's login.")
        .with_header("Location", "The address of the redirect.")
        .answers_bytes(503, "text/html", "The page: the provider does not answer.")
}

/// `303` to the provider.
pub(super) async fn begin(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (login, provider) = parts(&app)?;
    let id = Id::random().map_err(ApiError::internal)?;
    let leads_to = return_path::leads_to(&request);
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
    operation("logInFromProvider", "Completes a login at the provider.")
        .query("code", "The code that is exchanged for an ID token.", text())
        .query("state", "The login that the response belongs to.", text())
        .query("iss", "The provider.", text())
        .query("error", "The error, if there is no code.", text())
        .query("error_description", "The description of the error.", text())
        .query("session_state", "Ignored.", text())
        .answers_nothing(303, "Logged in.")
        .with_header("Location", "The address of the redirect.")
        .with_header("Set-Cookie", "The session.")
        .answers_bytes(401, "text/html", "The page, with an error message.")
        .answers_bytes(503, "text/html", "The page: the provider does not answer.")
}

/// `303` with the session's cookie, or the page with what is wrong.
pub(super) async fn end(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (login, provider) = parts(&app)?;
    let visitor = Visitor::of(&request, &app);
    let attempt = visitor.attempt(&app).await;
    let kept = Jar::Login.value(&request, app.base_url());
    let kept = kept.as_deref().and_then(|kept| kept.split_once('.'));
    let leads_to = kept.and_then(|(_, path)| String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(path).ok()?).ok());
    let leads_to = leads_to.filter(|path| is_path(path));
    let leads_to = leads_to.unwrap_or_else(|| return_path::leads_to(&request));
    let said = |name: &str| value(request.query_string(), name);
    let secrets = kept.and_then(|(id, _)| Id::read(id)).filter(|id| {
        // As long wherever they differ.
        said("state").is_some_and(|state| id.has_derived("state", &state))
    });
    let Some(secrets) = secrets.as_ref().map(Secrets::of) else {
        visitor.was_refused(&app, attempt, "provider", None).await?;
        let why = "The login was started in another browser, or more than ten minutes ago. Log in again.";
        return Ok(login.page(&leads_to, Some(why)).response(StatusCode::UNAUTHORIZED));
    };
    let result = async {
        if !provider.is_answer_of(said("iss").as_deref()).await? {
            return Err(Refusal::invalid("The response comes from another provider."));
        }
        if let Some(error) = said("error") {
            tracing::info!(error, description = said("error_description"), "a login was refused by the provider");
            return Err(Refusal::invalid("The provider refused the login."));
        }
        let code = said("code").ok_or_else(|| Refusal::invalid("The provider's response has no code."))?;
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
                visitor.was_refused(&app, attempt, "provider", None).await?;
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
            let why = "The provider is not available. Try again in a moment.";
            login.page(leads_to, Some(why)).response(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}
