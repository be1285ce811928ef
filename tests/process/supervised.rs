//! What processes tell the service manager that started them (sd_notify(3)).

use std::path::PathBuf;

use longhaul_tests::{DEADLINE, Stage, until};
use tokio::net::UnixDatagram;

use crate::program::Process;

/// The service manager's end of its socket.
struct Manager {
    socket: UnixDatagram,
    directory: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
        Self { socket, directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("notify")
    }

    /// Starts a process that is to be kept alive by a ping every 300 ms.
    fn start(&self, arguments: &[&str], database_url: &str) -> Process {
        let path = self.path();
        let path = path.to_str().expect("a path that is text");
        let environment = [("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "300000")];
        Process::start_with(arguments, database_url, &environment)
    }

    /// Waits for a message that has this line; returns the lines before it.
    async fn told(&self, line: &str) -> Vec<String> {
        let mut before = Vec::new();
        let found = async {
            loop {
                let mut message = [0; 4096];
                let length = self.socket.recv(&mut message).await.expect("a message");
                let lines: Vec<&str> = std::str::from_utf8(&message[..length]).expect("text").lines().collect();
                if lines.contains(&line) {
                    return;
                }
                before.extend(lines.into_iter().map(str::to_owned));
            }
        };
        tokio::time::timeout(DEADLINE, found).await.unwrap_or_else(|_| panic!("never told {line}, but {before:?}"));
        before
    }

    /// The life of a process that is ready when `is_ready` says so.
    async fn sees_a_whole_life(&self, process: Process, is_ready: impl AsyncFnOnce()) {
        let before = self.told("READY=1").await;
        assert!(before.iter().all(|line| line == "WATCHDOG=1"), "{before:?}");
        is_ready().await;
        for _ in 0..3 {
            let between = self.told("WATCHDOG=1").await;
            assert_eq!(between, [""; 0], "nothing else");
        }
        let (before, code) = tokio::join!(self.told("STOPPING=1"), process.terminate());
        assert!(before.iter().all(|line| line == "WATCHDOG=1"), "{before:?}");
        assert_eq!(code, Some(0));
    }
}

#[tokio::test]
async fn an_api_tells_that_it_is_ready_lives_and_stops() {
    let stage = Stage::new().await;
    let manager = Manager::new();
    let address = free_address();
    let api = manager.start(&["serve", "--listen", &address], &stage.logins().api);
    let ready = async || {
        let answer = stage.http.get(format!("http://{address}/health/ready")).send().await;
        assert_eq!(answer.expect("an answer").status(), 200);
    };
    manager.sees_a_whole_life(api, ready).await;
}

#[tokio::test]
async fn a_worker_tells_that_it_is_ready_once_it_has_registered_and_claimed() {
    let stage = Stage::new().await;
    let manager = Manager::new();
    let worker = manager.start(&["work", "--name", "supervised"], &stage.logins().worker);
    let ready = async || {
        let alive = "SELECT count(*) FROM longhaul.workers WHERE name = 'supervised' AND state = 'alive'";
        assert_eq!(stage.value::<i64>(alive).await, 1);
    };
    manager.sees_a_whole_life(worker, ready).await;
}

#[tokio::test]
async fn a_process_is_not_ready_before_its_database_is() {
    let stage = Stage::new().await;
    let execute = async |sql: &'static str| {
        sqlx::query(sql).execute(&stage.pool).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    };
    execute("CREATE TABLE public.kept AS SELECT * FROM longhaul.migration").await;
    execute("DELETE FROM longhaul.migration").await;

    let manager = Manager::new();
    let worker = manager.start(&["work"], &stage.logins().worker);
    let address = free_address();
    let api = manager.start(&["serve", "--listen", &address], &stage.logins().api);
    until("the API to say that it is not ready", async || {
        let answer = stage.http.get(format!("http://{address}/health/ready")).send().await.ok()?;
        assert_eq!(answer.status(), 503);
        Some(())
    })
    .await;
    let mut message = [0; 4096];
    while let Ok(length) = manager.socket.try_recv(&mut message) {
        let text = String::from_utf8_lossy(&message[..length]);
        assert!(!text.contains("READY"), "{text}");
    }

    execute("INSERT INTO longhaul.migration SELECT * FROM public.kept").await;
    for _ in 0..2 {
        manager.told("READY=1").await;
    }
    for process in [api, worker] {
        assert_eq!(process.terminate().await, Some(0));
    }
}

/// One that was free a moment ago.
pub(crate) fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}
