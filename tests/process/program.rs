//! Processes of the program under test.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A process of the program; killed when dropped.
pub(crate) struct Process {
    child: Child,
}

fn command(program: &str, arguments: &[&str], database_url: &str) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("DATABASE_URL", database_url).env_remove("LONGHAUL_LOG").kill_on_drop(true);
    command
}

/// Runs to the end; returns exit code, standard output and standard error.
pub(crate) async fn run(arguments: &[&str], database_url: &str) -> (Option<i32>, String, String) {
    run_program(crate::PROGRAM, arguments, database_url).await
}

/// The same with another program.
pub(crate) async fn run_program(
    program: &str,
    arguments: &[&str],
    database_url: &str,
) -> (Option<i32>, String, String) {
    let output = command(program, arguments, database_url).output().await.expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Runs to the end with these settings and no others from the environment.
pub(crate) async fn run_with(
    program: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> (Option<i32>, String, String) {
    let kept = ["PATH", "HOME", "TMPDIR"].map(|name| (name, std::env::var_os(name).unwrap_or_default()));
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(kept)
        .envs(environment.iter().copied())
        .kill_on_drop(true)
        .output()
        .await
        .expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The address in a line of the log that says where an API listens.
pub(crate) fn address_in(line: &str) -> String {
    let at = line.find("http://").expect("an address");
    line[at..].chars().take_while(|c| !c.is_whitespace() && *c != '"' && *c != '\u{1b}').collect()
}

impl Process {
    /// Starts it and leaves it alone.
    pub(crate) fn start(arguments: &[&str], database_url: &str) -> Self {
        Self::start_with(arguments, database_url, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn start_with(arguments: &[&str], database_url: &str, environment: &[(&str, &str)]) -> Self {
        let mut command = command(crate::PROGRAM, arguments, database_url);
        command.envs(environment.iter().copied()).stderr(Stdio::null());
        Self { child: command.spawn().expect("the program starts") }
    }

    /// Starts it and reads its log until a line has `word`; returns that line.
    pub(crate) async fn start_until(arguments: &[&str], database_url: &str, word: &str) -> (Self, String) {
        Self::start_program_until(crate::PROGRAM, arguments, database_url, word).await
    }

    /// The same with another program.
    pub(crate) async fn start_program_until(
        program: &str,
        arguments: &[&str],
        database_url: &str,
        word: &str,
    ) -> (Self, String) {
        let mut child =
            command(program, arguments, database_url).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let found = tokio::time::timeout(longhaul_tests::DEADLINE, async {
            loop {
                let line = lines.next_line().await.expect("a readable log").expect("it ended early");
                if line.contains(word) {
                    return line;
                }
            }
        });
        let line = found.await.unwrap_or_else(|_| panic!("the log never said '{word}'"));
        // Keep reading, so that the process never writes into a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        (Self { child }, line)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// SIGKILL.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Waits until it ends by itself; returns the exit code.
    pub(crate) async fn ended(mut self) -> Option<i32> {
        let ended = tokio::time::timeout(longhaul_tests::DEADLINE, self.child.wait()).await;
        ended.expect("it ends").expect("a status").code()
    }

    /// SIGTERM; returns the exit code.
    pub(crate) async fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().expect("it runs").to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill runs");
        assert!(told.success());
        let ended = tokio::time::timeout(longhaul_tests::DEADLINE, self.child.wait()).await;
        ended.expect("it ends after SIGTERM").expect("a status").code()
    }
}

/// A process whose standard output is read line by line.
pub(crate) struct Interactive {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Interactive {
    /// Starts it with these settings and no others from the environment.
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let kept = ["PATH", "HOME", "TMPDIR"].map(|name| (name, std::env::var_os(name).unwrap_or_default()));
        let mut child = Command::new(crate::PROGRAM)
            .args(arguments)
            .env_clear()
            .envs(kept)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines }
    }

    /// The next line that has `word`.
    pub(crate) async fn line(&mut self, word: &str) -> String {
        let found = async {
            loop {
                let line = self.lines.next_line().await.expect("a readable line").expect("it ended early");
                if line.contains(word) {
                    return line;
                }
            }
        };
        tokio::time::timeout(longhaul_tests::DEADLINE, found).await.unwrap_or_else(|_| panic!("it never said '{word}'"))
    }

    /// SIGINT.
    pub(crate) async fn interrupt(&self) {
        let pid = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().await.expect("kill runs").success());
    }

    /// Waits for its end; returns the exit code.
    pub(crate) async fn ended(mut self) -> Option<i32> {
        // Keep reading, so that it never writes into a full pipe.
        let read = async { while let Ok(Some(_)) = self.lines.next_line().await {} };
        let ended = async { tokio::join!(read, self.child.wait()).1 };
        tokio::time::timeout(longhaul_tests::DEADLINE, ended).await.expect("it ends").expect("a status").code()
    }
}
