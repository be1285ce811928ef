//! Where every HTTP client of Longhaul begins.

use reqwest::ClientBuilder;
use rustls::crypto::{CryptoProvider, ring};

/// An HTTP client without settings. Its TLS uses the provider of cryptography that the program has
/// installed for rustls. If there is none, it is `ring`, as for connections to the database.
pub fn http_client() -> ClientBuilder {
    if CryptoProvider::get_default().is_none() {
        // Fails only if the program installs one at this moment, which is as good.
        ring::default_provider().install_default().ok();
    }
    #[expect(clippy::disallowed_methods, reason = "all others begin here")]
    ClientBuilder::new()
}
