//! What a program can be set to, with what its file says.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context;
use clap::Command;

use super::catalogue::{Catalogue, Setting};
use super::file::{File, Given};
use super::flag::named;

/// What a program can be set to, and what its file says.
pub(crate) struct Configuration {
    pub(crate) catalogue: Catalogue,
    pub(crate) file: Option<File>,
}

impl Configuration {
    /// Reads the file that these arguments or the environment name. Other files are never read, so
    /// that the working directory can't change the configuration.
    ///
    /// # Errors
    /// If the file can't be read, or has unknown keys or invalid values; all of them at once, with
    /// their lines.
    pub(crate) fn of(command: &Command, arguments: &[OsString]) -> anyhow::Result<Self> {
        let catalogue = Catalogue::of(command);
        let file = named(command, arguments).map(|path| read(&path, &catalogue)).transpose()?;
        Ok(Self { catalogue, file })
    }

    /// The command line whose defaults are what the file says.
    pub(crate) fn applied_to(&self, mut command: Command) -> Command {
        let Some(file) = &self.file else { return command };
        for setting in self.catalogue.iter() {
            if let Some(given) = file.of(setting) {
                command = give(command, &setting.command, setting, given);
            }
        }
        command
    }
}

fn give(command: Command, path: &[String], setting: &Setting, given: &Given) -> Command {
    match path {
        [] => command.mut_arg(setting.id.clone(), |argument| {
            // Read once in the life of a process.
            let values = given.values.iter().map(|value| &*value.clone().leak());
            argument.required(false).default_values(values.collect::<Vec<&'static str>>())
        }),
        [name, below @ ..] => command.mut_subcommand(name, |command| give(command, below, setting, given)),
    }
}

fn read(path: &Path, catalogue: &Catalogue) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the configuration file {} could not be read", path.display()))?;
    File::parse(path, &text, catalogue)
}
