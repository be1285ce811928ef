//! Files over HTTP.

use std::time::Duration;

use super::progress;

/// Why something did not come.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(super) fn client() -> Result<reqwest::Client, Failure> {
    let client = longhaul_outbound::http_client()
        .user_agent(concat!("longhaul/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(30));
    Ok(client.build()?)
}

/// The archive at this address, with a bar meanwhile.
pub(super) async fn archive(client: &reqwest::Client, address: &str, what: &str) -> Result<Vec<u8>, Failure> {
    let mut answer = client.get(address).send().await?.error_for_status()?;
    let bar = progress(what, answer.content_length().unwrap_or(0));
    let mut archive = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        bar.inc(piece.len() as u64);
        archive.extend_from_slice(&piece);
    }
    bar.finish_and_clear();
    Ok(archive)
}
