//! `longhaul corpus`

use std::fs::File;
use std::io::{BufWriter, Write};
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
        let written = write_debian(&mut out)?;
        out.flush()?;
        eprintln!("{} packages, {} dependencies from {}", written.packages, written.dependencies, written.source);
        Ok(())
    }
}
