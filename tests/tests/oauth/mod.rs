//! Access tokens and logins of an OpenID provider: a real HTTP server serves its
//! documents, and tokens are signed here, byte by byte, so that wrong ones can be made.

mod api;
mod issuer;
mod keys;
mod login;
mod provider;
mod streams;
mod verification;
