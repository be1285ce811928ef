//! Finds an installed PostgreSQL, or one that was fetched.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;
use crate::identity::Identity;

const SUPPORTED: RangeInclusive<u32> = 14..=18;

/// The environment variable that names the directory of the programs.
const VARIABLE: &str = "LONGHAUL_PG_BIN";

/// The programs of one PostgreSQL installation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Binaries {
    directory: PathBuf,
    pub(crate) major: u32,
}

impl Binaries {
    pub(crate) fn initdb(&self) -> PathBuf {
        self.directory.join("initdb")
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.directory.join("postgres")
    }

    /// Looks at a directory, and says why it cannot be used.
    fn inspect(directory: &Path) -> Result<Self, String> {
        // Links lead to the real place, where `initdb` finds its `postgres`.
        let postgres = directory.join("postgres").canonicalize().map_err(|_| "has no `postgres`")?;
        let directory = postgres.parent().ok_or("has no `postgres`")?.to_owned();
        if !directory.join("initdb").is_file() {
            return Err("has no `initdb`".to_owned());
        }
        let output = Command::new(&postgres)
            .arg("--version")
            .output()
            .map_err(|error| format!("its `postgres` does not run ({error})"))?;
        let version = String::from_utf8_lossy(&output.stdout);
        match major_version(&version) {
            Some(major) if SUPPORTED.contains(&major) => Ok(Self { directory, major }),
            _ => Err(format!("its version is `{}`", version.trim())),
        }
    }
}

/// The programs to use: the first installed ones, or those of the version that `wanted` names;
/// if there are none, they are fetched.
///
/// `wanted` is the kept directory that needs its own major version again.
pub(crate) async fn find(identity: &Identity, wanted: Option<(&Path, u32)>) -> Result<Binaries, Error> {
    let installed = installed(identity)?;
    let suitable = |binaries: &&Binaries| wanted.is_none_or(|(_, major)| binaries.major == major);
    if let Some(binaries) = installed.iter().find(suitable) {
        return Ok(binaries.clone());
    }
    let mismatch = || {
        let (directory, cluster) = wanted.filter(|_| !installed.is_empty())?;
        Some(Error::VersionMismatch { directory: directory.to_owned(), cluster, installed: majors(&installed) })
    };
    let can_be_had = named().is_none() && wanted.is_none_or(|(_, major)| SUPPORTED.contains(&major));
    let fetched = if can_be_had {
        crate::fetch::fetch(wanted.map(|(_, major)| major)).await
    } else {
        Err(Error::PostgresNotFound)
    };
    let directory = fetched.map_err(|error| match error {
        Error::PostgresNotFound | Error::NothingToFetch { .. } => mismatch().unwrap_or(error),
        error => error,
    })?;
    let problem = |problem| Error::BadFetched { path: directory.clone(), problem };
    let binaries = Binaries::inspect(&directory).map_err(problem)?;
    identity.check_reach(&binaries.postgres())?;
    Ok(binaries)
}

/// What `LONGHAUL_PG_BIN` names.
fn named() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Every usable installation that `identity` can reach, the preferred ones first.
fn installed(identity: &Identity) -> Result<Vec<Binaries>, Error> {
    if let Some(path) = named() {
        let binaries = Binaries::inspect(&path).map_err(|problem| Error::BadBinaryDirectory { path, problem })?;
        identity.check_reach(&binaries.postgres())?;
        return Ok(vec![binaries]);
    }
    let mut installed = Vec::new();
    for directory in candidates() {
        if let Ok(binaries) = Binaries::inspect(&directory)
            && !installed.contains(&binaries)
            && identity.check_reach(&binaries.postgres()).is_ok()
        {
            installed.push(binaries);
        }
    }
    Ok(installed)
}

/// Where PostgreSQL's programs usually are.
fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        let line = String::from_utf8_lossy(&output.stdout);
        found.push(PathBuf::from(line.trim()));
    }
    // One directory for each major version, the newest first.
    let prefixes = [
        "/usr/lib/postgresql/",                          // Debian, Ubuntu
        "/usr/pgsql-",                                   // packages of the PostgreSQL project
        "/opt/homebrew/opt/postgresql@",                 // Homebrew on Apple silicon
        "/usr/local/opt/postgresql@",                    // Homebrew on Intel
        "/Applications/Postgres.app/Contents/Versions/", // Postgres.app
    ];
    for prefix in prefixes {
        for major in SUPPORTED.rev() {
            found.push(PathBuf::from(format!("{prefix}{major}/bin")));
        }
    }
    found
}

/// Reads `postgres (PostgreSQL) 15.4 (Debian 15.4-1)` and the like.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    let end = version.find(|letter: char| !letter.is_ascii_digit());
    version[..end.unwrap_or(version.len())].parse().ok()
}

fn majors(installed: &[Binaries]) -> String {
    let majors: Vec<String> = installed.iter().map(|binaries| binaries.major.to_string()).collect();
    majors.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_versions_that_packagers_print() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0)\n"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_version("postgres (PostgreSQL) 17"), Some(17));
        assert_eq!(major_version("something else 15"), None);
    }

    #[test]
    fn a_directory_without_the_programs_says_what_is_missing() {
        let empty = tempfile::tempdir().expect("a temporary directory");
        let problem = Binaries::inspect(empty.path()).expect_err("nothing is in there");
        assert_eq!(problem, "has no `postgres`");
    }
}
