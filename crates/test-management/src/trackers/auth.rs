//! What a tracker is sent of an account.

use super::credentials::Credentials;

/// How a tracker is told who asks.
#[derive(Hash)]
pub(super) enum Auth {
    Nobody,
    Basic { username: String, secret: String },
    Bearer(String),
    Header { name: &'static str, secret: String },
}

impl Auth {
    /// Basic with a user name, else Bearer.
    pub(super) fn account(credentials: Option<Credentials>) -> Self {
        match credentials {
            None => Auth::Nobody,
            Some(Credentials { username: Some(username), secret }) => Auth::Basic { username, secret },
            Some(Credentials { username: None, secret }) => Auth::Bearer(secret),
        }
    }

    /// The secret in a header of its own.
    pub(super) fn header(name: &'static str, credentials: Option<Credentials>) -> Self {
        credentials.map_or(Auth::Nobody, |credentials| Auth::Header { name, secret: credentials.secret })
    }

    pub(super) fn secret(&self) -> Option<&str> {
        match self {
            Auth::Nobody => None,
            Auth::Basic { secret, .. } | Auth::Bearer(secret) | Auth::Header { secret, .. } => Some(secret),
        }
    }
}
