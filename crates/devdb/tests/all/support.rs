//! Helpers for the tests of this crate.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use longhaul_devdb::{Options, Server};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use sqlx::{Connection, PgConnection};

/// Whether this process runs as root.
pub(crate) fn runs_as_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A temporary directory that every user may enter.
pub(crate) fn reachable_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("chmod works");
    directory
}

/// Whether a process is there; one that has ended but was not waited for is not.
pub(crate) fn is_running(process: u32) -> bool {
    let id = Pid::from_raw(process.try_into().expect("a process id"));
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    kill(id, None) != Err(Errno::ESRCH) && !status.contains("State:\tZ")
}

/// The user that a process runs as.
pub(crate) fn user_of(process: u32) -> u32 {
    let output = Command::new("ps").args(["-o", "uid=", "-p", &process.to_string()]).output().expect("`ps` runs");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().expect("the process runs")
}

/// Asks again and again until the answer is yes.
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Fast to start.
pub(crate) fn for_tests(options: Options) -> Options {
    options.durable(false).setting("shared_buffers", "16MB")
}

pub(crate) async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("the server takes connections")
}

pub(crate) async fn write_row(server: &Server) {
    let mut connection = connect(&server.admin_url()).await;
    for statement in ["CREATE TABLE kept (value int)", "INSERT INTO kept VALUES (42)"] {
        sqlx::query(statement).execute(&mut connection).await.expect("the table is made");
    }
    connection.close().await.expect("the connection closes");
}

pub(crate) async fn read_row(server: &Server) -> i32 {
    let mut connection = connect(&server.admin_url()).await;
    let value = sqlx::query_scalar("SELECT value FROM kept").fetch_one(&mut connection).await;
    connection.close().await.expect("the connection closes");
    value.expect("the row is there")
}
