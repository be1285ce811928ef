//! The operating system user that PostgreSQL runs as.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, chown, fchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User, getegid, geteuid};

use crate::error::Error;

/// Every Unix has it here, whatever the search path says.
pub(crate) const SHELL: &str = "/bin/sh";

/// A user. PostgreSQL refuses to run as root, so that root hands over to another one.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    gid: u32,
    name: String,
    /// Whether this is another user than the one this process runs as.
    differs: bool,
}

impl Identity {
    /// The current user; for root `postgres`, or else `nobody`.
    pub(crate) fn choose() -> Result<Self, Error> {
        if !geteuid().is_root() {
            return Ok(Self {
                uid: geteuid().as_raw(),
                gid: getegid().as_raw(),
                name: user_name(geteuid()),
                differs: false,
            });
        }
        ["postgres", "nobody"]
            .into_iter()
            .filter_map(|name| User::from_name(name).ok().flatten())
            .find(|user| !user.uid.is_root())
            .map(Self::other)
            .ok_or(Error::NoUnprivilegedUser)
    }

    /// As [`choose`](Self::choose), but root takes the owner of what is there already.
    pub(crate) fn choose_for_owner(owner: u32) -> Result<Self, Error> {
        let owner = Uid::from_raw(owner);
        if geteuid().is_root()
            && !owner.is_root()
            && let Ok(Some(user)) = User::from_uid(owner)
        {
            return Ok(Self::other(user));
        }
        Self::choose()
    }

    fn other(user: User) -> Self {
        Self { uid: user.uid.as_raw(), gid: user.gid.as_raw(), name: user.name, differs: true }
    }

    /// A command that will run as this user.
    ///
    /// It has its own process group, so that the terminal's interrupt key does
    /// not reach it, no open files, and next to nothing of this process's
    /// environment, which may hold secrets or settings meant for other clients.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("LC_ALL", "C")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if self.differs {
            // Also drops all supplementary groups.
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Hands a file or directory to this user.
    pub(crate) fn give(&self, path: &Path) -> Result<(), Error> {
        if self.differs {
            chown(path, Some(self.uid), Some(self.gid)).map_err(Error::io("chown", path))?;
        }
        Ok(())
    }

    /// Makes a new file that only this user can read, in place of any old one.
    ///
    /// It never follows a link that somebody left under that name.
    pub(crate) fn create_file(&self, path: &Path) -> Result<File, Error> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("replace", path)(error));
            }
            _ => {}
        }
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(Error::io("create", path))?;
        if self.differs {
            fchown(&file, Some(self.uid), Some(self.gid)).map_err(Error::io("chown", path))?;
        }
        Ok(file)
    }

    /// Checks that this user may enter every directory above `path`.
    pub(crate) fn check_reach(&self, path: &Path) -> Result<(), Error> {
        if !self.differs {
            return Ok(());
        }
        let mut ancestors: Vec<&Path> = path.ancestors().skip(1).collect();
        ancestors.reverse();
        // Entering them as that user also honours access control lists.
        let output = self
            .command(SHELL)
            .args(["-c", r#"for d; do cd "$d" || { printf %s "$d"; exit 1; }; done"#, "sh"])
            .args(ancestors)
            .stdout(Stdio::piped())
            .output()
            .map_err(Error::io("start", Path::new(SHELL)))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Unreachable {
            path: path.to_owned(),
            blocked: PathBuf::from(String::from_utf8_lossy(&output.stdout).into_owned()),
            user: self.name.clone(),
        })
    }
}

fn user_name(uid: Uid) -> String {
    match User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}
