//! `longhaul man`

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use clap_mangen::Man as Page;

/// Writes a manual page for each command, for those who make packages.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The directory to write them to.
    #[arg(long)]
    out: PathBuf,
}

impl Man {
    pub(crate) fn run(&self, command_line: clap::Command) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.out).with_context(|| format!("can't make {}", self.out.display()))?;
        let program = format!("{} {}", command_line.get_name(), command_line.get_version().unwrap_or_default());
        // A page for each `help` would say what the pages say.
        let mut command_line = command_line.disable_help_subcommand(true);
        command_line.build();
        write(&command_line, &program, &self.out).with_context(|| format!("can't write to {}", self.out.display()))
    }
}

fn write(command: &clap::Command, program: &str, out: &Path) -> std::io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write(below, program, out)?;
    }
    Page::new(command.clone()).source(program).generate_to(out)?;
    Ok(())
}
