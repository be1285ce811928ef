//! `longhaul corpus`

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::PathBuf;

use clap::Args;

use crate::corpus::write_debian;

/// Writes what this machine knows of Debian packages (`apt-cache dumpavail`, or
/// dpkg's status file) as records: a package is an entity, a dependency a
/// relationship.
#[derive(Debug, Args)]
pub(crate) struct Corpus {
    /// Where to write; standard output by default.
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Corpus {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut out: Box<dyn Write> = match &self.out {
            Some(path) => Box::new(BufWriter::new(File::create(path)?)),
            None => Box::new(BufWriter::new(std::io::stdout().lock())),
        };
        let written = write_debian(&mut out).and_then(|written| Ok(out.flush().map(|()| written)?));
        let left = |error: &anyhow::Error| {
            error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
        };
        let written = match written {
            // Whoever read it has left, as `head` does: 128 and the number of SIGPIPE.
            Err(error) if self.out.is_none() && left(&error) => std::process::exit(141),
            written => written?,
        };
        eprintln!("{} packages, {} dependencies from {}", written.packages, written.dependencies, written.source);
        Ok(())
    }
}
