//! Stops PostgreSQL when this process is gone, however it went.
//!
//! A destructor runs neither after SIGKILL nor for statics, and Linux's
//! `PR_SET_PDEATHSIG` would fire as soon as the *thread* that spawned the child
//! ends, which for a runtime's worker thread is long before the process does.
//! So a small shell script reads from a pipe whose only write end is held here.
//! The kernel closes that end when this process ends for whatever reason, the
//! script sees the end of its input, stops PostgreSQL and, for a temporary
//! directory, removes the files. A normal stop takes the very same way: it
//! closes the pipe and waits.
//!
//! Two details matter. The write end is close-on-exec (all pipes of the
//! standard library are), or else any other child of this process would hold it
//! open. And the script runs in its own process group, as PostgreSQL does, so
//! that an interrupt key meant for this process does not reach them.

use std::io::{self, PipeWriter, Write};
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::identity::{Identity, SHELL};
use crate::polling::TICK;

/// How long to wait for the script when a start has failed and nothing runs yet.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);

const SCRIPT: &str = include_str!("watchdog.sh");

/// The running script, and the write end of its pipe.
#[derive(Debug)]
pub(crate) struct Watchdog {
    script: Child,
    pipe: Option<PipeWriter>,
}

impl Watchdog {
    /// Starts to watch over this process; `remove` is the directory to remove in the end.
    ///
    /// The script runs as `identity`: it can then end only processes, and
    /// remove only files, of that user.
    pub(crate) fn start(identity: &Identity, remove: Option<&Path>) -> Result<Self, Error> {
        let (reader, writer) = io::pipe().map_err(Error::io("create a pipe for", Path::new(SHELL)))?;
        let script = identity
            .command(SHELL)
            .args(["-c", SCRIPT, "longhaul-devdb-watchdog"])
            .arg(remove.unwrap_or(Path::new("")))
            .stdin(reader)
            .spawn()
            .map_err(Error::io("start", Path::new(SHELL)))?;
        Ok(Self { script, pipe: Some(writer) })
    }

    /// Names the process to stop in the end, in place of the one named before.
    pub(crate) fn watch(&mut self, process: Option<&Child>) -> Result<(), Error> {
        let line = process.map_or_else(String::new, |process| process.id().to_string());
        match &mut self.pipe {
            Some(pipe) => writeln!(pipe, "{line}"),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
        .map_err(Error::io("write to", Path::new("the watchdog's pipe")))
    }

    /// Makes the script do its work now.
    pub(crate) fn release(&mut self) {
        self.pipe = None;
    }

    /// Whether the script has done its work.
    pub(crate) fn has_finished(&mut self) -> bool {
        !matches!(self.script.try_wait(), Ok(None))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.release();
        let deadline = Instant::now() + DROP_TIMEOUT;
        while !self.has_finished() && Instant::now() < deadline {
            std::thread::sleep(TICK);
        }
    }
}
