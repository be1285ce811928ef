//! `longhaul completions`

use clap::Args;
use clap_complete::{Shell, generate};

pub(super) const EXAMPLES: &str = "Examples:
  longhaul completions bash > /etc/bash_completion.d/longhaul
  longhaul completions zsh > \"${fpath[1]}/_longhaul\"
  longhaul completions fish > ~/.config/fish/completions/longhaul.fish";

/// Prints a shell completion script.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, mut command_line: clap::Command) -> anyhow::Result<()> {
        let name = command_line.get_name().to_owned();
        let mut script = Vec::new();
        generate(self.shell, &mut command_line, name, &mut script);
        print!("{}", String::from_utf8_lossy(&script));
        Ok(())
    }
}
