//! Starting, restarting and stopping servers within one process.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use longhaul_devdb::{Error, Options, Server};
use sqlx::{Connection, PgConnection};

use crate::support::{connect, for_tests, is_running, read_row, user_of, write_row};

async fn setting(connection: &mut PgConnection, name: &str) -> String {
    sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(connection).await.expect("the setting exists")
}

#[tokio::test]
async fn a_temporary_server_answers_and_leaves_nothing_behind() {
    let begin = Instant::now();
    let server = Server::start(Options::temporary().durable(false)).await.expect("it starts");
    println!("started in {:?}", begin.elapsed());

    let mut connection = connect(&server.admin_url()).await;
    assert_eq!(setting(&mut connection, "server_encoding").await, "UTF8");
    assert_eq!(setting(&mut connection, "TimeZone").await, "UTC");
    assert_eq!(setting(&mut connection, "fsync").await, "off");
    assert_eq!(setting(&mut connection, "max_connections").await, "200");
    assert_eq!(setting(&mut connection, "listen_addresses").await, "127.0.0.1");
    assert_eq!(setting(&mut connection, "unix_socket_directories").await, "");

    let (directory, process) = (server.directory().to_owned(), server.process_id());
    let process = process.expect("it runs");
    assert!(server.log_path().starts_with(&directory));
    let metadata = fs::metadata(&directory).expect("the directory is there");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o700);
    assert_ne!(user_of(process), 0, "PostgreSQL must not run as root");
    let password = server.admin_url().split([':', '@']).nth(2).map(str::to_owned);
    let password = password.expect("the URL has a password");
    assert!(!format!("{server:?}").contains(&password), "a log must not show the password");

    // With a session still open: a fast shutdown ends it.
    server.stop().await.expect("it stops");
    assert!(!is_running(process));
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_durable_server_keeps_fsync_on_and_takes_own_settings() {
    let options = Options::temporary()
        .setting("shared_buffers", "16MB")
        .settings([("max_connections".to_owned(), "17".to_owned())]);
    let server = Server::start(options).await.expect("it starts");
    let mut connection = connect(&server.admin_url()).await;
    assert_eq!(setting(&mut connection, "fsync").await, "on");
    assert_eq!(setting(&mut connection, "max_connections").await, "17");
}

#[tokio::test]
async fn a_password_is_needed() {
    let server = Server::start(for_tests(Options::temporary())).await.expect("it starts");
    let mut parts = server.admin_url();
    let (colon, at) = (parts.rfind(':'), parts.find('@').expect("a user part"));
    assert!(colon > Some(at), "the last colon is before the port");
    let password = parts[..at].rfind(':').expect("a password part") + 1;
    parts.replace_range(password..at, "guess");
    let error = PgConnection::connect(&parts).await.expect_err("the password is wrong");
    assert!(error.to_string().contains("password authentication failed"), "{error}");
}

#[tokio::test]
async fn dropping_a_server_stops_it() {
    let server = Server::start(for_tests(Options::temporary())).await.expect("it starts");
    let (directory, process) = (server.directory().to_owned(), server.process_id());
    drop(server);
    assert!(!is_running(process.expect("it ran")));
    assert!(!directory.exists());
}

#[tokio::test]
async fn an_immediate_restart_keeps_port_and_data() {
    let mut server = Server::start(for_tests(Options::temporary())).await.expect("it starts");
    write_row(&server).await;
    let (url, process) = (server.admin_url(), server.process_id());

    server.restart_immediate().await.expect("it restarts");
    assert_eq!(server.admin_url(), url);
    assert_ne!(server.process_id(), process);
    assert_eq!(read_row(&server).await, 42);

    server.halt_immediate().await.expect("it halts");
    assert_eq!(server.process_id(), None);
    PgConnection::connect(&url).await.expect_err("nobody listens while it is halted");
    server.resume().await.expect("it resumes");
    assert_eq!(read_row(&server).await, 42);

    let directory = server.directory().to_owned();
    server.stop().await.expect("it stops after a restart too");
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_bad_setting_shows_the_end_of_the_log() {
    let options = for_tests(Options::temporary()).setting("no_such_setting", "1");
    let error = Server::start(options).await.expect_err("PostgreSQL refuses to start");
    let Error::StartFailed { tail, log, .. } = &error else {
        panic!("{error}");
    };
    assert!(tail.contains("no_such_setting"), "{error}");
    assert!(!log.exists(), "the temporary directory is gone");
}

#[tokio::test]
async fn servers_can_start_at_the_same_time() {
    let start = || Server::start(for_tests(Options::temporary()));
    let (one, two, three) = tokio::join!(start(), start(), start());
    let servers = [one, two, three].map(|server| server.expect("it starts"));
    for server in &servers {
        connect(&server.admin_url()).await.close().await.expect("the connection closes");
    }
}

#[tokio::test]
async fn a_taken_port_is_named_in_the_error_and_can_be_used_once_it_is_free() {
    let mut server = Server::start(for_tests(Options::temporary())).await.expect("it starts");
    server.halt_immediate().await.expect("it halts");
    let other = TcpListener::bind(("127.0.0.1", server.port())).expect("the port is free");
    let error = server.resume().await.expect_err("somebody else has the port");
    // A first start tells by these words that another port will do.
    assert!(error.to_string().contains("could not create any TCP/IP sockets"), "{error}");
    drop(other);
    server.resume().await.expect("it resumes");
}

/// Which it would if it had got the write end of the watchdog's pipe.
#[tokio::test]
async fn another_child_of_this_process_does_not_keep_the_server_alive() {
    let server = Server::start(for_tests(Options::temporary())).await.expect("it starts");
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("`cat` runs");
    server.stop().await.expect("it stops");
    let status = child.try_wait().expect("it can be asked");
    assert_eq!(status, None, "the other child still runs");
    child.kill().expect("SIGKILL can be sent");
    child.wait().expect("it has ended");
}
