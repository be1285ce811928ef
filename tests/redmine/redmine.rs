//! A server of a real Redmine instance.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use longhaul_tests::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

/// A running server; killed when dropped.
pub(crate) struct Redmine {
    pub(crate) url: String,
    pub(crate) instance: Instance,
    port: u16,
    child: Child,
}

/// What `prepare.rb` made.
#[derive(Clone, Deserialize)]
pub(crate) struct Instance {
    #[serde(skip)]
    name: String,
    pub(crate) api_key: String,
    /// The numbers of its issues.
    pub(crate) issues: Vec<i64>,
}

impl Instance {
    pub(crate) fn load(name: &str) -> Self {
        let directory = std::env::var("LONGHAUL_REDMINE").expect("tests/redmine/run sets LONGHAUL_REDMINE");
        let answer = std::fs::read(Path::new(&directory).join(name).join("answer.json")).expect("a prepared instance");
        Self { name: name.to_owned(), ..serde_json::from_slice(&answer).expect("an answer") }
    }

    fn home(&self) -> PathBuf {
        let directory = std::env::var("LONGHAUL_REDMINE").expect("tests/redmine/run sets LONGHAUL_REDMINE");
        Path::new(&directory).join(&self.name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home().join("server.log")).unwrap_or_default()
    }
}

impl Redmine {
    /// Starts the instance's server on a free port and waits until it answers.
    pub(crate) async fn start(name: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let instance = Instance::load(name);
        let child = spawn(&instance, port);
        let mut redmine = Self { url: format!("http://127.0.0.1:{port}"), instance, port, child };
        redmine.answers().await;
        redmine
    }

    /// Kills the server: connections are refused from now on.
    pub(crate) fn die(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// Starts it again at the same address.
    pub(crate) async fn come_back(&mut self) {
        self.child = spawn(&self.instance, self.port);
        self.answers().await;
    }

    /// Stops the process: it takes connections and answers nothing.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("a signal");
    }

    async fn answers(&mut self) {
        let http = longhaul_tests::http_client().no_proxy().build().expect("a client");
        until("Redmine to answer", async || {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "the server ended; its server.log says why: {}", self.instance.log());
            let response = http.get(&self.url).timeout(std::time::Duration::from_secs(5)).send().await.ok()?;
            response.status().is_success().then_some(())
        })
        .await;
    }
}

impl Drop for Redmine {
    fn drop(&mut self) {
        let _dead = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// `setpriv` becomes the server itself, so that signals reach it.
fn spawn(instance: &Instance, port: u16) -> Child {
    let directory = std::env::var("LONGHAUL_REDMINE").expect("tests/redmine/run sets LONGHAUL_REDMINE");
    let home = instance.home();
    let log = std::fs::File::options().create(true).append(true).open(home.join("server.log")).expect("a log");
    Command::new("setpriv")
        .args(["--reuid", "www-data", "--regid", "www-data", "--clear-groups", "--", "ruby"])
        .arg(Path::new(&directory).join("serve.rb"))
        .arg(port.to_string())
        .current_dir("/usr/share/redmine")
        .env("REDMINE_INSTANCE", &instance.name)
        .env("RAILS_ENV", "production")
        .env("HOME", &home)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("setpriv and ruby are installed")
}
