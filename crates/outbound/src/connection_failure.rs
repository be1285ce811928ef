//! What a connection died of, in words that name no address: those may be nobody's business.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use crate::address::{NameNotResolved, NoPublicAddress};

/// How long the other side was waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For all of the answer.
    pub answer: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionFailure {
    /// The guard against server-side request forgery stopped it: it never was a connection.
    pub is_not_allowed: bool,
    /// Continues a sentence that begins with the other side's name.
    pub words: String,
}

impl ConnectionFailure {
    /// Finds out why a request got no answer.
    #[must_use]
    pub fn of(error: &reqwest::Error, patience: Patience) -> Self {
        let causes = causes(error);
        let is_not_allowed = causes.iter().any(|cause| cause.is::<NoPublicAddress>());
        let words = if is_not_allowed {
            "has no public address, and private addresses are not allowed here".to_owned()
        } else if error.is_timeout() {
            match error.is_connect() {
                true => format!("can't be reached: no connection within {} s", patience.connect.as_secs_f32()),
                false => format!("did not answer within {} s", patience.answer.as_secs_f32()),
            }
        } else {
            died_of(error, &causes)
        };
        Self { is_not_allowed, words }
    }
}

fn died_of(error: &reqwest::Error, causes: &[&(dyn StdError + 'static)]) -> String {
    let last = causes.last().map(ToString::to_string).unwrap_or_default();
    if let Some(unresolved) = causes.iter().find(|cause| cause.is::<NameNotResolved>()) {
        return format!("can't be reached: {unresolved}");
    }
    let kinds: Vec<io::ErrorKind> =
        causes.iter().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind).collect();
    let has = |kind| kinds.contains(&kind);
    if error.is_connect() {
        if has(io::ErrorKind::ConnectionRefused) {
            return "can't be reached: the connection was refused".to_owned();
        }
        // The TLS library reports whatever it does not like as invalid data.
        if has(io::ErrorKind::InvalidData) || last.contains("tls") {
            let hint = if last.contains("InvalidContentType") { "; check that the port uses TLS" } else { "" };
            return format!("can't be reached: the TLS handshake failed ({last}){hint}");
        }
        return format!("can't be reached: {last}");
    }
    if error.is_builder() {
        return "was not asked: the request has characters that HTTP does not allow".to_owned();
    }
    if [io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof, io::ErrorKind::BrokenPipe].into_iter().any(has)
        || error.is_body()
        || error.is_decode()
        || last.contains("connection closed")
    {
        return format!("closed the connection in the middle of its response ({last})");
    }
    format!("sent an invalid HTTP response ({last})")
}

/// The error and all that lies within, also what an [`io::Error`] wraps, which its
/// `source` passes over.
fn causes(error: &reqwest::Error) -> Vec<&(dyn StdError + 'static)> {
    let mut causes: Vec<&(dyn StdError + 'static)> = Vec::new();
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = next {
        causes.push(cause);
        next = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(within) => Some(within),
            None => cause.source(),
        };
    }
    causes
}
