//! Kept directories, and what is left of temporary ones.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use longhaul_devdb::{Error, Options, Server};

use crate::support::{for_tests, reachable_directory, read_row, runs_as_root, write_row};

#[tokio::test]
async fn a_kept_directory_keeps_its_data() {
    let parent = reachable_directory();
    let path = parent.path().join("nested/database");
    let server = Server::start(for_tests(Options::kept(&path))).await.expect("it starts");
    write_row(&server).await;
    let port = server.port();
    drop(server);

    let server = Server::start(for_tests(Options::kept(&path))).await.expect("it starts again");
    assert_eq!(read_row(&server).await, 42);
    assert_eq!(server.port(), port, "an address that someone noted leads here again");
    server.stop().await.expect("it stops");
    let other = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let server = Server::start(for_tests(Options::kept(&path))).await.expect("it starts on another port");
    assert_ne!(server.port(), port);
    drop(other);
    server.ensure_database("longhaul").await.expect("the database is made");
    server.ensure_database("longhaul").await.expect("the database is left alone");
    let error = Server::start(for_tests(Options::kept(&path))).await.expect_err("it is in use");
    assert!(matches!(error, Error::DirectoryInUse { .. }), "{error}");
    server.stop().await.expect("it stops");

    let mode = fs::metadata(path.join("password")).expect("the password is beside the data");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    fs::remove_file(path.join("password")).expect("the password can be removed");
    let error = Server::start(for_tests(Options::kept(&path))).await.expect_err("no password");
    assert!(matches!(error, Error::PasswordMissing { .. }), "{error}");
}

#[tokio::test]
async fn a_cluster_of_another_version_is_refused() {
    let parent = reachable_directory();
    let path = parent.path().join("database");
    fs::create_dir_all(path.join("data")).expect("a directory");
    fs::write(path.join("lock"), "").expect("a lock file");
    fs::write(path.join("data/PG_VERSION"), "9\n").expect("a version file");
    let error = Server::start(Options::kept(&path)).await.expect_err("version 9 is too old");
    assert!(matches!(error, Error::VersionMismatch { cluster: 9, .. }), "{error}");
    assert!(error.to_string().contains("install PostgreSQL 9"), "{error}");
}

#[tokio::test]
async fn a_directory_with_other_files_is_refused() {
    let parent = reachable_directory();
    fs::write(parent.path().join("thesis.txt"), "precious").expect("a file");
    let error = Server::start(Options::kept(parent.path())).await.expect_err("it is not empty");
    assert!(matches!(error, Error::DirectoryNotOurs { .. }), "{error}");
    assert!(parent.path().join("thesis.txt").exists());
}

#[tokio::test]
async fn a_directory_below_a_private_one_is_refused_for_root() {
    let private = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(private.path(), Permissions::from_mode(0o700)).expect("chmod works");
    let path = private.path().join("database");
    let result = Server::start(for_tests(Options::kept(&path))).await;
    if runs_as_root() {
        let error = result.expect_err("the unprivileged user cannot get there");
        let Error::Unreachable { blocked, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(blocked, private.path());
        assert!(error.to_string().contains("chmod o+x"), "{error}");
    } else {
        result.expect("the owner can get there");
    }
}

#[tokio::test]
async fn leftovers_of_killed_processes_are_removed() {
    let make = |lock: &Path| {
        fs::create_dir(lock.parent().expect("a parent")).expect("a new directory");
        fs::File::create(lock).expect("a new lock file")
    };
    let name = format!("longhaul-devdb-leftover-{}", std::process::id());
    let stale = std::env::temp_dir().join(format!("{name}-stale"));
    let used = std::env::temp_dir().join(format!("{name}-used"));
    drop(make(&stale.join("lock")));
    let lock = make(&used.join("lock"));
    lock.lock().expect("nobody else locks it");

    let server = Server::start(for_tests(Options::temporary())).await.expect("it starts");
    assert!(!stale.exists());
    assert!(used.exists());
    drop(server);
    drop(lock);
    // Another test's start may be faster.
    fs::remove_dir_all(&used).ok();
}
