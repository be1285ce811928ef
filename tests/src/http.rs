//! Requests of tests.

pub use longhaul_outbound::http_client;

/// What is at this address.
///
/// # Errors
/// If nothing answers.
pub async fn get(address: impl reqwest::IntoUrl) -> reqwest::Result<reqwest::Response> {
    http_client().build()?.get(address).send().await
}
