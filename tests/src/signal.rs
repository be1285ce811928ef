//! Servers that freeze.

use std::process::{Command, Stdio};

use longhaul_devdb::Server;

/// Sends a signal to PostgreSQL and all its sessions: to the postmaster first, which then makes
/// no session that would be missed.
///
/// # Panics
/// If the server is stopped.
pub fn signal_server(server: &Server, name: &str) {
    let postmaster = server.process_id().expect("it runs").to_string();
    let send = |to: &[&str]| {
        // One of them may just have ended.
        let _sent = Command::new("kill").arg(name).args(to).stderr(Stdio::null()).status();
    };
    send(&[&postmaster]);
    let sessions = Command::new("pgrep").args(["-P", &postmaster]).output().expect("pgrep runs").stdout;
    let sessions = String::from_utf8(sessions).expect("numbers");
    send(&sessions.split_whitespace().collect::<Vec<_>>());
}
