//! Runs `initdb` and `postgres`, and waits for them.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::binaries::Binaries;
use crate::directory::Directory;
use crate::error::Error;
use crate::polling::TICK;
use crate::watchdog::Watchdog;

/// The superuser's name.
pub(crate) const USER: &str = "longhaul";

/// How long a start may take; recovery after a crash can need long.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Makes a new cluster.
///
/// It is made under another name first, so that a start that was ended half
/// way leaves nothing that looks like a cluster.
pub(crate) async fn initialise(
    binaries: &Binaries,
    directory: &Directory,
    watchdog: &mut Watchdog,
    durable: bool,
) -> Result<(), Error> {
    let locales: &[&[&str]] = &[
        &["--locale=C.UTF-8"],
        // From PostgreSQL 17 on, for systems that know no such locale.
        &["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"],
        &["--locale=C"],
    ];
    let mut output = String::new();
    for locale in locales {
        let new = directory.new_data();
        if new.exists() {
            fs::remove_dir_all(&new).map_err(Error::io("remove", &new))?;
        }
        let log = directory.identity.create_file(&directory.log())?;
        let mut command = directory.identity.command(binaries.initdb());
        command
            .current_dir(&directory.path)
            .args(["--username", USER, "--auth=scram-sha-256", "--encoding=UTF8"])
            .args(["--no-instructions", "--pgdata"])
            .arg(&new)
            .arg("--pwfile")
            .arg(directory.password_file())
            .args(*locale);
        if !durable {
            command.arg("--no-sync");
        }
        let mut initdb = command
            .stdout(duplicate(&log, &directory.log())?)
            .stderr(log)
            .spawn()
            .map_err(Error::io("run", &binaries.initdb()))?;
        watchdog.watch(Some(&initdb))?;
        let success = loop {
            match initdb.try_wait() {
                Ok(None) => tokio::time::sleep(TICK).await,
                Ok(Some(status)) => break status.success(),
                Err(_) => break false,
            }
        };
        watchdog.watch(None)?;
        if success {
            return fs::rename(&new, directory.data()).map_err(Error::io("rename", &new));
        }
        output = tail(&directory.log());
        if !output.contains("locale") {
            break;
        }
    }
    Err(Error::Initdb { output })
}

/// Starts `postgres`, without waiting until it is ready.
pub(crate) fn spawn(
    binaries: &Binaries,
    directory: &Directory,
    port: u16,
    settings: &[(String, String)],
) -> Result<Child, Error> {
    // Each start has a log of its own, or else it would grow without an end.
    let log = directory.identity.create_file(&directory.log())?;
    let mut command = directory.identity.command(binaries.postgres());
    command.current_dir(&directory.path).arg("-D").arg(directory.data()).args(["-c", &format!("port={port}")]);
    for (name, value) in settings {
        command.args(["-c", &format!("{name}={value}")]);
    }
    command
        .stdout(duplicate(&log, &directory.log())?)
        .stderr(log)
        .spawn()
        .map_err(Error::io("run", &binaries.postgres()))
}

/// Waits until the server takes connections.
pub(crate) async fn wait_until_ready(postgres: &mut Child, directory: &Directory) -> Result<(), Error> {
    let deadline = Instant::now() + START_TIMEOUT;
    let problem = loop {
        if is_ready(&directory.data(), postgres.id()) {
            return Ok(());
        }
        match postgres.try_wait() {
            Ok(None) if Instant::now() < deadline => tokio::time::sleep(TICK).await,
            Ok(None) => break "was not ready in time".to_owned(),
            Ok(Some(status)) => break format!("exited during its start ({status})"),
            Err(error) => break format!("could not be watched ({error})"),
        }
    };
    Err(Error::StartFailed { problem, log: directory.log(), tail: tail(&directory.log()) })
}

/// Asks PostgreSQL's own status file, as `pg_ctl` does.
///
/// A connection would tell less: another server may have got the port.
fn is_ready(data: &Path, process_id: u32) -> bool {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
        return false;
    };
    let mut lines = text.lines();
    let id = lines.next().and_then(|line| line.trim().parse().ok());
    // The first line is the process, the eighth its state.
    id == Some(process_id) && lines.nth(6).is_some_and(|state| state.trim() == "ready")
}

/// Whether a start failed only because somebody else got the port first.
pub(crate) fn lost_the_port(error: &Error) -> bool {
    matches!(error, Error::StartFailed { tail, .. }
        if tail.contains("could not create any TCP/IP sockets"))
}

/// A port that is free now.
///
/// It is below the range from which systems give out ports for outgoing
/// connections. In that range a client that retries while the server restarts
/// could be given this very port, and would then be connected to itself.
pub(crate) fn free_port() -> Result<u16, Error> {
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for _ in 0..100 {
        let port = 15_000 + random_number() % 15_000;
        match bound(port) {
            Ok(()) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(Error::io("find a free port on", Path::new("127.0.0.1"))(last))
}

/// Whether this port is free now.
pub(crate) fn is_free(port: u16) -> bool {
    bound(port).is_ok()
}

fn bound(port: u16) -> std::io::Result<()> {
    TcpListener::bind(("127.0.0.1", port)).map(drop)
}

fn random_number() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    // Every RandomState has other keys, and so another hash for the same input.
    let [first, second, ..] = RandomState::new().hash_one(Instant::now()).to_ne_bytes();
    u16::from_ne_bytes([first, second])
}

fn duplicate(file: &File, path: &Path) -> Result<File, Error> {
    file.try_clone().map_err(Error::io("open", path))
}

/// The last lines of a log.
fn tail(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
