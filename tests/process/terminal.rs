//! Programs on a terminal of their own (of util-linux's `script`, which every Debian
//! has), seen as a person sees them.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

/// Rows and columns.
const SIZE: (u16, u16) = (40, 140);

/// A program on a terminal; both end when this is dropped.
pub(crate) struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    /// Starts the program under test with these settings and no others from the
    /// environment.
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::sized(SIZE, arguments, environment)
    }

    /// The same with so many rows and columns.
    pub(crate) fn sized((rows, columns): (u16, u16), arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let quoted = arguments.iter().map(|argument| format!("'{argument}'")).collect::<Vec<_>>().join(" ");
        let command = format!("stty rows {rows} cols {columns}; exec '{}' {quoted}", crate::PROGRAM);
        let kept = ["PATH", "HOME", "TMPDIR"].map(|name| (name, std::env::var_os(name).unwrap_or_default()));
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", &command, "/dev/null"])
            .env_clear()
            .envs(kept)
            .envs([("TERM", "xterm-256color"), ("SHELL", "/bin/sh"), ("LANG", "C.UTF-8")])
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("script runs (util-linux, or Debian's bsdutils)");
        let [rows, columns] = [rows, columns].map(|number| number.try_into().expect("not zero"));
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let mut output = child.stdout.take().expect("a pipe");
        let shown = Arc::clone(&screen);
        tokio::spawn(async move {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes).await {
                shown.lock().expect("a screen").process(&bytes[..read]);
            }
        });
        let keyboard = child.stdin.take().expect("a pipe");
        Self { child, keyboard, screen }
    }

    /// What stands on the screen.
    pub(crate) fn screen(&self) -> String {
        self.screen.lock().expect("a screen").screen().contents()
    }

    /// Waits until a line of the screen fits; returns it.
    pub(crate) async fn line(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let found = async {
            loop {
                if let Some(line) = self.screen().lines().find(|line| fits(line)) {
                    return line.to_owned();
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(longhaul_tests::DEADLINE, found).await {
            Ok(line) => line,
            Err(_) => panic!("there never was {what} on the screen:\n{}", self.screen()),
        }
    }

    /// Presses keys.
    pub(crate) async fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).await.expect("a terminal");
        self.keyboard.flush().await.expect("a terminal");
    }

    /// Waits for the end; returns the program's exit code.
    pub(crate) async fn ended(mut self) -> Option<i32> {
        let ended = tokio::time::timeout(longhaul_tests::DEADLINE, self.child.wait()).await;
        match ended {
            Ok(status) => status.expect("a status").code(),
            Err(_) => panic!("it did not end:\n{}", self.screen()),
        }
    }
}
