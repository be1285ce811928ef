//! The directory of one server: its files, who may use it, and who removes it.
//!
//! | name           | what                                                     |
//! | -------------- | -------------------------------------------------------- |
//! | `data`         | PostgreSQL's data directory                              |
//! | `data.new`     | the same while `initdb` makes it                         |
//! | `password`     | the superuser's password, readable only by its owner     |
//! | `postgres.log` | the log of the last start                                |
//! | `port`         | the port of the last start, of a kept directory          |
//! | `lock`         | locked by the process that uses the directory            |
//!
//! The lock is the kernel's: it goes when its process goes, so a directory
//! whose lock is free belongs to nobody. That, unlike a process id in a name,
//! holds even when ids are used again or belong to another container.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};

use crate::error::Error;
use crate::identity::Identity;
use crate::polling::TICK;

/// How the names of temporary directories start.
const PREFIX: &str = "longhaul-devdb-";

/// How long to wait for a lock that another process may be about to free.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// A directory that this process has locked for itself.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) temporary: bool,
    _lock: File,
}

impl Directory {
    /// Makes a temporary directory. The watchdog removes it, not this value.
    pub(crate) fn temporary() -> Result<Self, Error> {
        let identity = Identity::choose()?;
        let parent = std::env::temp_dir();
        identity.check_reach(&parent.join(PREFIX))?;
        remove_leftovers(&parent, &identity);
        let path = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o700))
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .tempdir_in(&parent)
            .map_err(Error::io("create a directory in", &parent))?
            .keep();
        let lock = new_lock(&path, &identity)?;
        identity.give(&path)?;
        Ok(Self { path, identity, temporary: true, _lock: lock })
    }

    /// Opens a kept directory, or makes it.
    pub(crate) async fn kept(path: &Path) -> Result<Self, Error> {
        let path = &std::path::absolute(path).map_err(Error::io("find", path))?;
        fs::create_dir_all(path).map_err(Error::io("make", path))?;
        // PostgreSQL records the real path, so links are resolved here.
        let path = path.canonicalize().map_err(Error::io("find", path))?;
        let owner = path.metadata().map_err(Error::io("look at", &path))?.uid();
        let identity = Identity::choose_for_owner(owner)?;
        let current = geteuid();
        if !current.is_root() && owner != current.as_raw() {
            let current = current.as_raw();
            return Err(Error::WrongOwner { path, owner, current });
        }
        identity.check_reach(&path)?;
        let lock = if path.join("lock").exists() {
            File::open(path.join("lock")).map_err(Error::io("open the lock in", &path))?
        } else if is_empty(&path)? {
            new_lock(&path, &identity)?
        } else {
            return Err(Error::DirectoryNotOurs { path });
        };
        // A fresh child of this process may hold the lock until it has replaced itself.
        let deadline = Instant::now() + LOCK_TIMEOUT;
        while lock.try_lock().is_err() {
            if Instant::now() > deadline {
                return Err(Error::DirectoryInUse { path });
            }
            tokio::time::sleep(TICK).await;
        }
        fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(Error::io("protect", &path))?;
        identity.give(&path)?;
        Ok(Self { path, identity, temporary: false, _lock: lock })
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(crate) fn new_data(&self) -> PathBuf {
        self.path.join("data.new")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("postgres.log")
    }

    pub(crate) fn password_file(&self) -> PathBuf {
        self.path.join("password")
    }

    /// The port that a kept directory's server had last, which clients may have noted.
    pub(crate) fn last_port(&self) -> Option<u16> {
        if self.temporary { None } else { fs::read_to_string(self.port_file()).ok()?.trim().parse().ok() }
    }

    /// Notes the port for the next start.
    pub(crate) fn keep_port(&self, port: u16) -> Result<(), Error> {
        if self.temporary || self.last_port() == Some(port) {
            return Ok(());
        }
        let path = self.port_file();
        writeln!(self.identity.create_file(&path)?, "{port}").map_err(Error::io("write", &path))
    }

    fn port_file(&self) -> PathBuf {
        self.path.join("port")
    }

    /// The major version that made the data, if there is data yet.
    pub(crate) fn cluster_version(&self) -> Option<u32> {
        let text = fs::read_to_string(self.data().join("PG_VERSION")).ok()?;
        text.trim().parse().ok()
    }

    /// The superuser's password: a new one as long as there is no data.
    pub(crate) fn password(&self) -> Result<String, Error> {
        let path = self.password_file();
        if self.cluster_version().is_some() {
            return fs::read_to_string(&path)
                .map(|text| text.trim().to_owned())
                .map_err(|_| Error::PasswordMissing { path });
        }
        let password = random_hex()?;
        writeln!(self.identity.create_file(&path)?, "{password}").map_err(Error::io("write", &path))?;
        Ok(password)
    }
}

/// Makes the lock file, already locked when it appears under its name.
fn new_lock(directory: &Path, identity: &Identity) -> Result<File, Error> {
    let unfinished = directory.join("lock.new");
    let lock = identity.create_file(&unfinished)?;
    lock.lock().map_err(Error::io("lock", &unfinished))?;
    fs::rename(&unfinished, directory.join("lock")).map_err(Error::io("rename", &unfinished))?;
    Ok(lock)
}

fn is_empty(path: &Path) -> Result<bool, Error> {
    let mut entries = fs::read_dir(path).map_err(Error::io("list", path))?;
    // `lock.new` alone is left when a start was ended at its very beginning.
    Ok(entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lock.new")))
}

/// Removes what servers left behind whose process and watchdog were both killed.
fn remove_leftovers(parent: &Path, identity: &Identity) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.metadata().is_ok_and(|metadata| {
                metadata.is_dir() && [identity.uid, geteuid().as_raw()].contains(&metadata.uid())
            });
        if !ours {
            continue;
        }
        let path = entry.path();
        let Ok(lock) = File::open(path.join("lock")) else {
            continue;
        };
        if lock.try_lock().is_ok() && !postmaster_lives(&path.join("data")) {
            discard(&path);
        }
    }
}

/// Whether the process that last ran on this data directory is still there.
///
/// PostgreSQL removes the file at its end, so that only after a crash an
/// unrelated process that got the same id could be meant.
pub(crate) fn postmaster_lives(data: &Path) -> bool {
    fs::read_to_string(data.join("postmaster.pid"))
        .ok()
        .and_then(|text| text.lines().next()?.trim().parse().ok())
        .is_some_and(|id: i32| id > 0 && kill(Pid::from_raw(id), None).is_ok())
}

fn discard(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::debug!(path = %path.display(), %error, "could not remove a temporary directory");
    }
}

/// 128 random bits.
pub(crate) fn random_hex() -> Result<String, Error> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    File::open(source).and_then(|mut file| file.read_exact(&mut bytes)).map_err(Error::io("read", source))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
