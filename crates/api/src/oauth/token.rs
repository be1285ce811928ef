//! One token: signature and claims (RFC 7519, with the advice of RFC 8725).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::signature::prepare;
use super::{Bearer, Issuer, Refusal, Rules};

/// A token may have this many bytes.
const MOST_BYTES: usize = 16 * 1024;

/// What a token must be.
pub(crate) struct Expectation<'a> {
    pub(crate) issuer: &'a str,
    /// `aud` names one of them.
    pub(crate) audiences: &'a [String],
    pub(crate) algorithms: &'a [Algorithm],
    pub(crate) clock_skew: Duration,
    /// `typ` is one of them, with or without `application/`; anything if absent.
    pub(crate) types: Option<&'a [&'a str]>,
}

/// The claims of a token that is good.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) members: Map<String, Value>,
    subject: String,
    expires_at: i64,
}

impl Claims {
    /// A claim that is a text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }

    /// Whom the token speaks for.
    pub(crate) fn bearer(self, rules: &Rules) -> Bearer {
        let names = ["preferred_username", "name", "email"];
        let name = names.into_iter().filter_map(|name| self.text(name)).find(|name| !name.trim().is_empty());
        let name = name.unwrap_or(&self.subject).chars().filter(|letter| !letter.is_control()).take(200).collect();
        Bearer {
            name,
            permissions: rules.permissions(&self.members),
            subject: self.subject,
            expires_at: self.expires_at,
        }
    }
}

/// The claims of a token, if it is good at this time (seconds since 1970).
pub(crate) async fn verify(
    token: &str,
    issuer: &Arc<Issuer>,
    expected: &Expectation<'_>,
    now: i64,
) -> Result<Claims, Refusal> {
    if token.len() > MOST_BYTES {
        return Err(Refusal::invalid("The token is too long."));
    }
    let unreadable = |_: Error| Refusal::invalid("The token is not a JWT with an accepted signature.");
    let header = decode_header(token).map_err(unreadable)?;
    if !expected.algorithms.contains(&header.alg) {
        return Err(Refusal::invalid("The signature algorithm of the token is not accepted."));
    }
    // RFC 7515, 4.1.11: what must be understood and is not makes a token invalid.
    if header.crit.is_some() {
        return Err(Refusal::invalid("The token requires unknown extensions."));
    }
    if expected.types.is_some_and(|types| !has_type(header.typ.as_deref(), types)) {
        return Err(Refusal::invalid("The token is not an access token: its typ is not at+jwt."));
    }
    // Before the issuer's keys are asked for: what says itself that it is over needs none, and a
    // stream that it opened does not go on because the issuer is away.
    if unproven(token).as_ref().and_then(expiry).is_some_and(|expires_at| is_over(expires_at, expected.clock_skew, now))
    {
        return Err(Refusal::invalid(EXPIRED));
    }
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(expected.audiences);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // Times are checked below, against the database's clock.
    validation.validate_exp = false;
    prepare();
    let mut refusal = None;
    for key in issuer.keys(header.kid.as_deref(), header.alg).await? {
        match decode::<Map<String, Value>>(token, &key, &validation) {
            Ok(good) => return timely(good.claims, expected.clock_skew, now),
            Err(error) => refusal = Some(reason(&error)),
        }
    }
    Err(refusal.unwrap_or_else(|| Refusal::invalid("The issuer has no such key.")))
}

fn has_type(typ: Option<&str>, types: &[&str]) -> bool {
    let Some(typ) = typ.map(str::to_ascii_lowercase) else { return false };
    types.contains(&typ.strip_prefix("application/").unwrap_or(&typ))
}

/// The claims of a token that nobody has proven yet.
fn unproven(token: &str) -> Option<Map<String, Value>> {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

const EXPIRED: &str = "The token has expired.";

fn expiry(members: &Map<String, Value>) -> Option<f64> {
    members.get("exp").and_then(Value::as_f64)
}

fn is_over(expires_at: f64, skew: Duration, now: i64) -> bool {
    now as f64 >= expires_at + skew.as_secs_f64()
}

fn timely(members: Map<String, Value>, skew: Duration, now: i64) -> Result<Claims, Refusal> {
    let Some(expires_at) = expiry(&members) else {
        return Err(Refusal::invalid("The token has no expiry time."));
    };
    if is_over(expires_at, skew, now) {
        return Err(Refusal::invalid(EXPIRED));
    }
    let (skew, now) = (skew.as_secs_f64(), now as f64);
    match members.get("nbf").map(Value::as_f64) {
        Some(Some(not_before)) if now >= not_before - skew => {}
        None => {}
        Some(_) => return Err(Refusal::invalid("The token is not valid yet.")),
    }
    let subject = members.get("sub").and_then(Value::as_str).filter(|subject| (1..=255).contains(&subject.len()));
    let Some(subject) = subject.map(str::to_owned) else {
        return Err(Refusal::invalid("The token has no sub of 1 to 255 bytes."));
    };
    Ok(Claims { members, subject, expires_at: expires_at as i64 })
}

fn reason(error: &Error) -> Refusal {
    Refusal::invalid(match error.kind() {
        ErrorKind::InvalidIssuer => "The token comes from another issuer.",
        ErrorKind::InvalidAudience => "The token is for another audience.",
        ErrorKind::MissingRequiredClaim(claim) => return Refusal::invalid(format!("The token has no usable {claim}.")),
        ErrorKind::InvalidSignature => "The token's signature is wrong.",
        _ => "The token can't be verified.",
    })
}
